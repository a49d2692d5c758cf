"""A long search in which workers crash, hang and are killed, and which is killed itself.

    python -m benchmarks search_failures

Two convolutions on digits. One candidate in twenty breaks the process that trains it, and the
study's own process is killed several times and started again. In the end every trial must be
accounted for: measured, or failed for the reason that was injected.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from benchmarks.experiment import Experiment
from benchmarks.records import Records, measured_on
from hwopt.files import read_json, write_json
from hwopt.report import markdown
from hwopt.search.recipe import make_search
from hwopt.search.results import StudyResults, Trial
from hwopt.search.study import Study
from hwopt.search.workers.processes import Outcome, Processes, Task

TRIALS, KILLS, SEED = 190, 6, 0
WORKERS, SECONDS = 8, 30
#: One candidate in so many breaks its process.
ONE_IN = 20
FOLDER = Path("runs") / "search_failures"
#: How often the study was killed, so that this script may be killed, too, and goes on.
KILLED = FOLDER / "killed.json"
#: What a plugin does while it is loaded, and how the reason of the trial ends.
BREAKS = {
    "crash": ("raise RuntimeError('injected')", "RuntimeError: injected"),
    "kill": ("import os; os.kill(os.getpid(), 9)", "its process was ended by SIGKILL"),
    "hang": ("import time; time.sleep(3600)", f"took over {SECONDS} s"),
}
REPEATED = "repeated an earlier one"
RECIPE: dict[str, Any] = {
    "model": "benchmarks.search_failures:network",
    "data": "digits",
    "train": {"epochs": 2},
    "fine_tune": {"epochs": 1},
    "threads": 1,
    "kernel_trials": 0,
    "runs": 20,
    "comparison_runs": 20,
    "check_samples": 20,
    "peers": [],
    "seed": SEED,
    "search": {
        "space": ["prune-channels{multiple=1}"],
        "levels": 32,
        "sampler": "random",
        "trials": TRIALS,
        "workers": WORKERS,
        "trial_seconds": SECONDS,
    },
}


def network() -> nn.Module:
    """Return what is searched: so small that a candidate takes seconds."""
    convolutions = [nn.Conv2d(1, 32, 3, 2), nn.ReLU(), nn.Conv2d(32, 32, 3, 2), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def injected(name: str) -> str | None:
    """Return how a candidate breaks its process, if it does; it always does, or never."""
    number = int(name.removeprefix("c-"), 16)
    return [*BREAKS][number // ONE_IN % len(BREAKS)] if number % ONE_IN == 0 else None


class Breaking(Processes):
    """Processes of which some break."""

    def run(self, tasks: Sequence[Task], seconds: float) -> list[Outcome]:
        """Run tasks, with a plugin that breaks those of some candidates."""
        return super().run([self._broken(task) for task in tasks], seconds)

    def _broken(self, task: Task) -> Task:
        how = injected(task.arguments["options"]["name"])
        if how is None:
            return task
        plugin = Path(task.arguments["folder"]) / f"{how}.py"
        plugin.write_text(BREAKS[how][0])
        plugins = [*task.arguments["plugins"], str(plugin)]
        return dataclasses.replace(task, arguments={**task.arguments, "plugins": plugins})


def search() -> None:
    """Run the study, or what is left of it."""
    Study(make_search(RECIPE), FOLDER, workers=Breaking()).run()


def search_killed_often() -> int:
    """Run the study in processes that are killed after random times; return how many were."""
    killed = read_json(KILLED) if KILLED.exists() else 0
    random = np.random.default_rng([SEED, killed])
    command = [sys.executable, "-m", "benchmarks", "search_failures", "--study"]
    while True:
        limit = float(random.uniform(20, 150)) if killed < KILLS else None
        with subprocess.Popen(command) as process:
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
                write_json(KILLED, killed)
                continue
        if code:
            raise SystemExit(code)
        return killed


def run() -> dict[str, Any]:
    """Search, and account for every trial."""
    killed = search_killed_often()
    trials = StudyResults.of(FOLDER).trials
    accounts = Counter(account(trial) for trial in trials)
    return {
        "trials": len(trials),
        "accounts": dict(sorted(accounts.items())),
        "study_killed": killed,
    }


def account(trial: Trial) -> str:
    """Return what became of a trial, and by whose fault; ``unexplained`` must not be."""
    how = injected(trial.name) if trial.name else None
    reason = trial.reason or ""
    if trial.state == "measured" and how is None:
        return "measured"
    if trial.repeats is not None:
        return REPEATED
    if trial.state == "failed" and how and BREAKS[how][1] in reason:
        return f"{how}, as injected"
    return f"unexplained: {trial.state}, {reason}"


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """What became of the trials."""
    yield "## Search: what breaks\n\n`python -m benchmarks search_failures`"
    yield (
        f"Two convolutions on digits, random candidates, {WORKERS} workers, {TRIALS} measured "
        f"trials; one candidate in {ONE_IN}, by its name, crashes the process that trains it, "
        "hangs, or is killed. The study itself is killed at random times and started again."
    )
    for run in runs:
        accounts = run["accounts"]
        broken = sum(n for what, n in accounts.items() if what.endswith("as injected"))
        tried = run["trials"] - accounts.get(REPEATED, 0)
        yield (
            f"{run['trials']} trials of {tried} candidates, of which {broken} "
            f"({100 * broken / tried:.1f} %) were broken; the study was killed "
            f"{run['study_killed']} times, and begun again:"
        )
        rows = [[what, str(number)] for what, number in accounts.items()]
        yield markdown(["what became of them", "trials"], rows)
    yield measured_on(runs)


def options(parser: ArgumentParser) -> None:
    """Add the study alone, which is what is killed."""
    parser.add_argument("--study", action="store_true", help=SUPPRESS)


def start(chosen: Namespace) -> None:
    """Run the study until it is done, or be one of the processes that are killed meanwhile."""
    if chosen.study:
        search()
        return
    Records("search_failures").run({"wanted": TRIALS, "kills": KILLS, "seed": SEED}, run)


EXPERIMENTS = (
    Experiment(
        name="search_failures",
        about="a search whose workers crash, hang and are killed, as it is itself",
        chapter="prediction and search",
        main=start,
        section=section,
        options=options,
    ),
)
