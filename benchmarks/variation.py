"""How much the latency depends on the tuning run: five of them, each from an empty database.

    python -m benchmarks variation  # the three nets of MLPerf Tiny that are images
    python -m benchmarks variation resnet18

The five artefacts alternate in one process, so that only their kernels can make a difference.
"""

from __future__ import annotations

import functools
import os
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.experiment import Experiment, Key
from benchmarks.records import measured_on
from hwopt.report import markdown

NETS = ("resnet8", "ds_cnn", "mobilenet_v1_025")
SEEDS = range(5)


def spread(net: str) -> dict:
    """Tune with five seeds; return the largest of the five latencies by the smallest, less 1."""
    import hwopt
    from benchmarks import nets
    from hwopt.compiler import measure

    graph = nets.graph(net)
    with tempfile.TemporaryDirectory() as folder:
        artifacts = []
        for seed in SEEDS:
            os.environ["HWOPT_HOME"] = f"{folder}/home-{seed}"
            artifacts.append(hwopt.compile(graph, seed=seed, output=Path(folder) / str(seed)))
        inputs = artifacts[0].random_inputs()
        calls = {
            str(seed): functools.partial(artifact, *inputs)
            for seed, artifact in zip(SEEDS, artifacts, strict=True)
        }
        latencies = measure(calls, threads=artifacts[0].threads, runs=500)
    medians = [latency.median_ms for latency in latencies.values()]
    return {"median_ms": medians, "spread": max(medians) / min(medians) - 1}


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """How far tuning runs differ."""
    yield "## Five tuning runs\n\n`python -m benchmarks variation`"
    yield (
        "Each from an empty database; the five artefacts alternate in one process. Medians in "
        "milliseconds, and how far the slowest is above the fastest."
    )
    rows = [
        [run["net"], *(f"{median:.3f}" for median in run["median_ms"]), f"{run['spread']:.1%}"]
        for run in runs
    ]
    yield markdown(["net", "1", "2", "3", "4", "5", "spread"], rows)
    yield measured_on(runs)


def options(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("nets", nargs="*", default=NETS)


def keys(chosen: Namespace) -> Iterator[Key]:
    """Yield every net."""
    for net in chosen.nets:
        yield {"net": net}


EXPERIMENTS = (
    Experiment(
        name="variation",
        about="how much the latency depends on the tuning run",
        chapter="kernels",
        keys=keys,
        run=spread,
        section=section,
        options=options,
    ),
)
