"""Compile time of ResNet-8 from an empty kernel database, and its latency beside the peers.

    python -m benchmarks.resnet8_peers       # three runs

One process a run; artefact, ONNX Runtime, torch eager and torch.compile alternate in it, with
equal threads, batch 1, float32.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.records import Records

RUNS = 3
PEERS = ("onnxruntime", "torch", "torch.compile")


def measure_here() -> dict:
    """Compile and measure in this process, whose user folder is empty."""
    import torch

    import hwopt
    from hwopt import models
    from hwopt.compiler import measure
    from hwopt.optimize import peers

    torch.manual_seed(0)
    graph = hwopt.import_model(models.create("resnet8"), torch.zeros(1, 3, 32, 32), name="resnet8")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        artifact = hwopt.compile(graph, output=Path(folder) / "a")
        first = time.perf_counter() - start
        start = time.perf_counter()
        hwopt.compile(graph, output=Path(folder) / "b")
        again = time.perf_counter() - start
        inputs = artifact.random_inputs()
        calls = {"hwopt": functools.partial(artifact, *inputs)}
        for peer in PEERS:
            where = Path(folder) / peer
            calls[peer] = peers.make(peer, artifact.graph(), inputs, artifact.threads, where)
        latencies = measure(calls, threads=artifact.threads, runs=500)
    median = latencies["hwopt"].median_ms
    return {
        "compile_seconds": round(first, 1),
        "compile_again_seconds": round(again, 1),
        "latencies": {name: latency.to_json() for name, latency in latencies.items()},
        "ratios": {peer: median / latencies[peer].median_ms for peer in PEERS},
        "roads": sorted({kernel.road for kernel in artifact.manifest.kernels}),
    }


def in_a_new_process() -> dict:
    """Run ``measure_here`` with an empty kernel database."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "benchmarks.resnet8_peers", "--here"]
        environment = {**os.environ, "HWOPT_HOME": home}
        output = subprocess.run(
            command, env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout
    return json.loads(output.splitlines()[-1])


def main() -> None:
    if sys.argv[1:] == ["--here"]:
        print(json.dumps(measure_here()))
        return
    records = Records("resnet8_peers")
    for run in range(RUNS):
        records.run({"run": run}, in_a_new_process)


if __name__ == "__main__":
    main()
