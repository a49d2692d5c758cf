"""How long the threads of each runtime stay awake after the last call of a net.

    python -m benchmarks idle_threads

One process a runtime: ResNet-8, as many threads as cores, 300 calls, and then the processor time
that the process uses in each of the next hundred milliseconds, in steps of two.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.experiment import Experiment
from benchmarks.records import Records, measured_on
from hwopt.report import markdown

RUNTIMES = ("hwopt", "tvm by itself", "onnxruntime", "openvino", "executorch", "torch")
CALLS, STEPS, STEP_SECONDS, BUSY_SHARE = 300, 50, 0.002, 0.3


def awake_here(name: str) -> float:
    """Return the milliseconds after the last call until the process is idle for the first time."""
    import hwopt
    from benchmarks import nets
    from hwopt import peers

    graph = nets.graph("resnet8")
    artifact = hwopt.compile(graph, kernel_trials=0)
    inputs = artifact.random_inputs()
    with tempfile.TemporaryDirectory() as folder:
        if name in peers.names():
            call = peers.make(name, graph, inputs, artifact.threads, Path(folder))
        else:
            call = lambda: artifact(*inputs)  # noqa: E731
        for _ in range(CALLS):
            call()
        for step in range(STEPS):
            used = time.process_time()
            time.sleep(STEP_SECONDS)
            if time.process_time() - used < BUSY_SHARE * STEP_SECONDS:
                return 1e3 * step * STEP_SECONDS
    return 1e3 * STEPS * STEP_SECONDS


def awake(name: str) -> dict:
    """Measure three processes; the median counts."""
    own = {"TVM_THREAD_POOL_SPIN_COUNT": "300000"} if name == "tvm by itself" else {}
    times = [
        float(
            subprocess.run(
                [sys.executable, "-m", "benchmarks", "idle_threads", "--runtime", name],
                env={**os.environ, **own},
                check=True,
                capture_output=True,
                text=True,
            ).stdout.splitlines()[-1]
        )
        for _ in range(3)
    ]
    return {"awake_ms": sorted(times)[1]}


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """How long threads stay awake."""
    yield "## Threads that stay awake\n\n`python -m benchmarks idle_threads`"
    yield (
        "Milliseconds after the last call of ResNet-8 until a runtime's threads no longer use a "
        "processor (steps of 2 ms, at most 100; median of three processes). Measurements of "
        "hwopt wait for this before each turn."
    )
    rows = [[run["runtime"], f"{run['awake_ms']:.0f}"] for run in runs]
    yield markdown(["runtime", "ms"], rows)
    yield measured_on(runs)


def options(parser: argparse.ArgumentParser) -> None:
    """Add the runtime that a process of its own measures."""
    parser.add_argument("--runtime", help=argparse.SUPPRESS)


def start(chosen: argparse.Namespace) -> None:
    """Measure every runtime; in a process of its own, the one that is named."""
    from hwopt import peers

    if chosen.runtime:
        print(awake_here(chosen.runtime))
        return
    records = Records("idle_threads")
    for name in RUNTIMES:
        if name not in peers.names() or peers.available(name):
            records.run({"runtime": name}, functools.partial(awake, name))


EXPERIMENTS = (
    Experiment(
        name="idle_threads",
        about="how long threads of runtimes stay awake after a call",
        chapter="peers",
        section=section,
        options=options,
        main=start,
    ),
)
