"""``hwopt optimize`` killed with SIGKILL at ten random moments, each time resumed.

    python -m benchmarks kill_resume

The job is the demo's on digits, with epochs enough that some kills fall in training, and with real
tuning. It is first run without a disturbance; the disturbed run must end with the same accuracy,
parameters, MACs and notes. Latency is measured anew: both ratios to dense are recorded, and need
not be equal.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.experiment import Experiment, Key
from benchmarks.records import measured_on

KILLS = 10
SAME = ("quality", "parameters", "macs", "notes", "passes")
RECIPE = {
    "model": "resnet8",
    "data": "digits",
    "train": {"epochs": 40},
    "fine_tune": {"epochs": 20, "learning_rate": 0.1},
    "variants": {"dense": "", "pruned": "prune-channels{ratio=0.3,multiple=4}"},
    "check_samples": 300,
    "runs": 200,
    "comparison_runs": 200,
}


def command(folder: Path, name: str) -> list[str]:
    """Return the command line of the job."""
    recipe = folder / "recipe.json"
    recipe.write_text(json.dumps(RECIPE))
    output = folder / name
    return [
        sys.executable,
        "-m",
        "hwopt.cli.main",
        "optimize",
        str(recipe),
        "--output",
        str(output),
    ]


def environment(folder: Path, name: str) -> dict[str, str]:
    """Each run tunes into a database of its own."""
    return {**os.environ, "HWOPT_HOME": str(folder / f"home-{name}")}


def disturbed(seed: int, **_: Any) -> dict:
    """Run undisturbed, then with kills; compare the tables."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        start = time.perf_counter()
        subprocess.run(
            command(folder, "calm"),
            env=environment(folder, "calm"),
            check=True,
            capture_output=True,
        )
        calm_seconds = time.perf_counter() - start
        moments = random.Random(seed)
        kills: list[dict] = []
        while len(kills) < KILLS:
            # At most a fifth of the whole job after the start: it gets on between two kills.
            wait = moments.uniform(2.0, 2.0 + calm_seconds / 5)
            process = subprocess.Popen(
                command(folder, "killed"),
                env=environment(folder, "killed"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            time.sleep(wait)
            ended = process.poll() is not None
            if not ended:
                os.killpg(process.pid, signal.SIGKILL)
            errors = process.communicate()[1]
            steps = [line for line in errors.splitlines() if line.startswith("> ")]
            kills.append({"after": round(wait, 1), "in": steps[-1][2:] if steps else "start"})
            if ended:
                break
        subprocess.run(
            command(folder, "killed"),
            env=environment(folder, "killed"),
            check=True,
            capture_output=True,
        )
        tables = [
            json.loads((folder / name / "results.json").read_text())["variants"]
            for name in ("calm", "killed")
        ]
        same = all(tables[0][v][key] == tables[1][v][key] for v in tables[0] for key in SAME)
        ratios = [table["pruned"]["ratio_to_baseline"] for table in tables]
        left = [path.name for path in folder.rglob("*.part")]
    return {
        "kills": kills,
        "same_table": same,
        "ratios_to_dense": ratios,
        "calm_seconds": round(calm_seconds),
        "half_written_files": left,
    }


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Killed and resumed."""
    yield "## Killed ten times\n\n`python -m benchmarks kill_resume`"
    for run in runs:
        places = ", ".join(f"{kill['in']} ({kill['after']} s)" for kill in run["kills"])
        yield (
            f"`hwopt optimize` on digits, killed with SIGKILL {len(run['kills'])} times, each time "
            f"started again; the step it was in, and seconds since its start: {places}."
        )
        calm, killed = run["ratios_to_dense"]
        yield (
            "Accuracy, parameters, MACs, passes and notes equal those of the undisturbed job: "
            f"**{'yes' if run['same_table'] else 'no'}**. Latency of the pruned to the dense: "
            f"{calm:.2f} undisturbed, {killed:.2f} killed. Files left half-written: "
            f"{len(run['half_written_files'])}."
        )
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[Key]:
    """Yield the only one."""
    yield {"kill_count": KILLS, "seed": 0}


EXPERIMENTS = (
    Experiment(
        name="kill_resume",
        about="a job killed at ten random moments, each time resumed",
        chapter="robustness",
        keys=keys,
        run=disturbed,
        section=section,
    ),
)
