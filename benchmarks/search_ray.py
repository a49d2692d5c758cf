"""A search with one Ray worker and with two: the same front, in how much of the time?

    python -m benchmarks search_ray    # pip install 'hwopt[ray]'; nothing else may run

The sampler is random, so that both try the same candidates whatever they find. A worker trains with
one thread; the cluster is one on this machine. Both begin with the same trained network, and each
with no kernels and no latencies of its own.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.experiment import Experiment, Key
from benchmarks.records import measured_on
from hwopt.report import markdown
from hwopt.search.plan import StudyPlan
from hwopt.search.recipe import make_search, write_search
from hwopt.search.study import Study
from hwopt.search.tasks import Tasks
from hwopt.search.workers.ray_workers import RayWorkers

TRIALS, EPOCHS = 6, 2
WORKERS = (1, 2)
RECIPE: dict[str, Any] = {
    "model": "resnet8",
    "data": "fashion-mnist",
    "train": {"epochs": 1},
    "fine_tune": {"epochs": EPOCHS},
    "threads": 1,
    "kernel_trials": 0,
    "peers": [],
    "search": {
        "space": ["prune-channels{multiple=8}"],
        "levels": 3,
        "sampler": "random",
        "trials": TRIALS,
    },
}


def search(cluster: RayWorkers, workers: int, folder: Path) -> dict[str, Any]:
    """Search from a prepared network on; return what was found, and the time of each phase."""
    recipe = make_search(RECIPE)
    part = recipe.search.model_copy(update={"workers": workers})
    recipe = recipe.model_copy(update={"search": part})
    began = [(time.monotonic(), "preparing")]

    def report(_: object, doing: str) -> None:
        began.append((time.monotonic(), doing.split()[0]))

    with tempfile.TemporaryDirectory() as home:
        os.environ["HWOPT_HOME"] = home
        results = Study(recipe, folder, workers=cluster, report=report).run()
    seconds: defaultdict[str, float] = defaultdict(float)
    for (start, phase), (end, _) in itertools.pairwise(began):
        seconds[phase] += end - start
    points = [[trial.quality, trial.ratio] for trial in results.trials]
    return {"seconds": dict(seconds), "points": points, "front": list(results.on_front)}


def run(**_: Any) -> dict[str, Any]:
    """Search with each number of workers."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared"
        prepared.mkdir()
        recipe = make_search(RECIPE)
        write_search(prepared, recipe)
        outcome = Tasks(StudyPlan(recipe, prepared)).prepare()
        if outcome.reason:
            raise SystemExit(outcome.reason)
        cluster = RayWorkers("local")
        for workers in WORKERS:
            folder = Path(scratch) / f"{workers}-workers"
            shutil.copytree(prepared, folder)
            found[str(workers)] = search(cluster, workers, folder)
    return {"workers": found}


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Time and front by workers."""
    yield "## Search: two Ray workers beside one\n\n`python -m benchmarks search_ray`"
    yield (
        f"ResNet-8 on Fashion-MNIST, {TRIALS} random candidates trained for {EPOCHS} epochs with "
        "one thread each, on a Ray cluster of this machine; measuring is by turns. Both searches "
        "train the same candidates to the same weights."
    )
    for run in runs:
        one, two = (run["workers"][str(workers)] for workers in WORKERS)
        phases = ("preparing", "training", "measuring", "compiling")
        totals = [sum(found["seconds"].values()) for found in (one, two)]
        rows = []
        for n, found, total in zip(WORKERS, (one, two), totals, strict=True):
            seconds = [
                f"{sum(s for said, s in found['seconds'].items() if said.startswith(phase)):.0f}"
                for phase in phases
            ]
            front = ", ".join(map(str, found["front"]))
            rows.append([f"{n}", f"{total / 60:.1f}", *seconds, front])
        yield markdown(
            ["workers", "minutes", *(f"{phase}, s" for phase in phases), "trials of the front"],
            rows,
        )
        pairs = list(zip(one["points"], two["points"], strict=True))
        accuracy = max(abs(a[0] - b[0]) for a, b in pairs)
        ratio = max(abs(a[1] / b[1] - 1) for a, b in pairs)
        yield (
            f"Two workers take {totals[1] / totals[0]:.2f} of the time, and "
            f"{two['seconds']['training'] / one['seconds']['training']:.2f} of that of training: "
            "two that are trained at the same time wait for the slower one, so that what is "
            "suggested next does not depend on which was faster. Measuring, and compiling and "
            "testing the front, are by turns. Largest difference of a candidate: "
            f"{100 * accuracy:.2f} points of accuracy, {100 * ratio:.1f} % of its latency."
        )
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[Key]:
    """Yield the one run, of both searches."""
    yield {"trials": TRIALS, "epochs": EPOCHS}


EXPERIMENTS = (
    Experiment(
        name="search_ray",
        about="a search with one Ray worker and with two",
        chapter="prediction and search",
        keys=keys,
        run=run,
        section=section,
    ),
)
