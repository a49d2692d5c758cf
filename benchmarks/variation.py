"""How much the latency depends on the tuning run: five of them, each from an empty database.

    python -m benchmarks.variation              # the three nets of MLPerf Tiny that are images
    python -m benchmarks.variation resnet18

The five artefacts alternate in one process, so that only their kernels can make a difference.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.records import Records

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


def main() -> None:
    records = Records("variation")
    for net in sys.argv[1:] or NETS:
        records.run({"net": net}, lambda net=net: spread(net))


if __name__ == "__main__":
    main()
