"""What ``make demo`` costs: seconds and peak memory, the first time and again; and start-up.

    python -m benchmarks demo_cost

The virtual environment is not counted here; the kernel database and the run's folder are empty.
"""

from __future__ import annotations

import os
import resource
import statistics
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

RECIPE = Path(__file__).parents[1] / "recipes" / "demo.yaml"


def cost() -> dict:
    """Run the demo twice and ``hwopt --help`` eleven times."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "HWOPT_HOME": f"{folder}/home"}
        command = [sys.executable, "-m", "hwopt.cli.main"]
        job = [*command, "optimize", str(RECIPE), "--output", f"{folder}/run"]
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            subprocess.run(job, env=environment, check=True, capture_output=True)
            seconds.append(round(time.perf_counter() - start, 1))
    # The largest of all child processes, the tuner's workers included.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    starts = []
    for _ in range(11):
        start = time.perf_counter()
        subprocess.run([*command, "--help"], check=True, capture_output=True)
        starts.append(time.perf_counter() - start)
    return {
        "first_seconds": seconds[0],
        "again_seconds": seconds[1],
        "peak_mib": round(peak),
        "help_seconds": round(statistics.median(starts), 3),
    }


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Time and memory of the demo."""
    yield "## What the demo costs\n\n`python -m benchmarks demo_cost`"
    for run in runs:
        yield (
            f"`hwopt optimize recipes/demo.yaml` with an empty kernel database: "
            f"{run['first_seconds'] / 60:.1f} minutes; again: {run['again_seconds']:.1f} s; peak "
            f"memory of the largest process {run['peak_mib']:,} MiB. `hwopt --help`: "
            f"{run['help_seconds']:.2f} s (median of 11). The virtual environment of `make demo` "
            "comes on top, once."
        )
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[Key]:
    """Yield the only one."""
    yield {}


EXPERIMENTS = (
    Experiment(
        name="demo_cost",
        about="seconds and memory of `make demo`",
        chapter="the main job",
        keys=keys,
        run=cost,
        section=section,
    ),
)
