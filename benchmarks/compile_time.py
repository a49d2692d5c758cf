"""How long compiling takes with a full database, and what comes out, beside another checkout.

    python -m benchmarks compile_time --beside FOLDER

``FOLDER`` is another checkout of hwopt, of an earlier commit say. Both compile each network with
``kernel_trials=0`` in processes of their own, by turns; what the kernels' libraries are made of is
known from a first turn that is not counted. Figures are medians of five turns.
"""

from __future__ import annotations

import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.experiment import Experiment
from benchmarks.records import Records, measured_on
from hwopt.report import markdown

NETS = ("resnet8", "ds_cnn", "mobilenet_v1_025", "autoencoder", "resnet18")
TURNS = 5
_SCRIPT = """
import json, torch, hwopt
from hwopt import models
torch.manual_seed(0)
name = {name!r}
model = models.create(name)
graph = hwopt.import_model(model, torch.zeros(1, *models.info(name).input_shape))
artifact = hwopt.compile(graph, kernel_trials=0)
latency = artifact.benchmark(runs=500)
print(json.dumps([artifact.manifest.compile_seconds, latency.median_ms]))
"""


def turn(checkout: Path, home: Path, name: str) -> tuple[float, float]:
    """Compile a network in a process of its own; return seconds, and the latency in ms."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "HWOPT_HOME": str(home)}
    command = [sys.executable, "-c", _SCRIPT.format(name=name)]
    done = subprocess.run(
        command, cwd=checkout, env=environment, check=True, capture_output=True, text=True
    )
    seconds, latency = json.loads(done.stdout.splitlines()[-1])
    return seconds, latency


def measure(name: str, other: Path) -> dict[str, Any]:
    """Compile a network by both checkouts, by turns."""
    here = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as folder:
        homes = {here: Path(folder) / "here", other: Path(folder) / "other"}
        turns: dict[Path, list[tuple[float, float]]] = {here: [], other: []}
        for number in range(TURNS + 1):
            for checkout, home in homes.items():
                found = turn(checkout, home, name)
                if number:
                    turns[checkout].append(found)
    (seconds, latency), (before, latency_before) = (
        tuple(statistics.median(values) for values in zip(*found, strict=True))
        for found in (turns[here], turns[other])
    )
    return {
        "seconds": seconds,
        "seconds_before": before,
        "latency_ms": latency,
        "latency_before_ms": latency_before,
    }


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Return the ratios."""
    yield "## Compiling\n\n`python -m benchmarks compile_time --beside FOLDER`"
    rows = [
        [
            run["model"],
            run["before"],
            f"{run['seconds']:.2f}",
            f"{run['seconds'] / run['seconds_before']:.2f}",
            f"{run['latency_ms'] / run['latency_before_ms']:.2f}",
        ]
        for run in runs
    ]
    yield markdown(["model", "commit before", "seconds", "ratio", "ratio of latencies"], rows)
    yield measured_on(runs)


def options(parser: ArgumentParser) -> None:
    """Add the other checkout."""
    parser.add_argument("--beside", type=Path, required=True, help="another checkout of hwopt")


def measure_all(chosen: Namespace) -> None:
    """Measure every network; its line names the other checkout by the commit, not the folder."""
    other = chosen.beside.resolve()
    command = ["git", "-C", str(other), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    records = Records("compile_time")
    for name in NETS:
        key = {"model": name, "before": commit}
        records.run(key, functools.partial(measure, name, other))


EXPERIMENTS = (
    Experiment(
        name="compile_time",
        about="seconds of compiling, beside another checkout",
        chapter="compiler",
        section=section,
        options=options,
        main=measure_all,
    ),
)
