"""Peak memory of a process that loads a compiled net and runs it: hwopt and ONNX Runtime.

    python -m benchmarks memory

Both are Python processes that import numpy and what they need, load the net from disk and call it
fifty times, batch 1, as many threads as cores.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.experiment import Experiment, Key
from benchmarks.peers import NETS
from benchmarks.records import measured_on
from hwopt.report import markdown

THREADS = 2
PEAK = """
import re
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""
HWOPT = """
import sys, hwopt
artifact = hwopt.load(sys.argv[1])
inputs = artifact.random_inputs()
for _ in range(50):
    artifact(*inputs)
"""
ONNX_RUNTIME = f"""
import sys, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = {THREADS}
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
feeds = {{i.name: numpy.random.randn(*i.shape).astype("float32") for i in session.get_inputs()}}
for _ in range(50):
    session.run(None, feeds)
"""


def peak_mib(program: str, path: Path) -> float:
    """Run the program in a process of its own; return its peak resident memory."""
    output = subprocess.run(
        [sys.executable, "-c", program + PEAK, str(path)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return int(output) / 1024


def compare(net: str) -> dict:
    """Compile a net and measure both processes three times; the median counts."""
    import hwopt
    from benchmarks import nets
    from hwopt.peers import onnx_runtime

    with tempfile.TemporaryDirectory() as folder:
        artifact = hwopt.compile(nets.graph(net), output=Path(folder) / "artifact")
        model = onnx_runtime.export(artifact.graph(), artifact.random_inputs(), Path(folder))
        ours = sorted(peak_mib(HWOPT, artifact.path) for _ in range(3))[1]
        theirs = sorted(peak_mib(ONNX_RUNTIME, model) for _ in range(3))[1]
    return {"hwopt_mib": ours, "onnxruntime_mib": theirs, "ratio": ours / theirs}


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Peak memory while running."""
    yield "## Memory while running\n\n`python -m benchmarks memory`"
    yield (
        "Peak resident memory of a Python process that loads the compiled net and calls it fifty "
        "times, as many threads as cores; median of three processes."
    )
    rows = [
        [
            run["net"],
            f"{run['hwopt_mib']:.0f}",
            f"{run['onnxruntime_mib']:.0f}",
            f"{run['ratio']:.2f}",
        ]
        for run in runs
    ]
    yield markdown(["net", "hwopt MiB", "ONNX Runtime MiB", "ratio"], rows)
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[Key]:
    """Yield every net."""
    for net in NETS:
        yield {"net": net}


EXPERIMENTS = (
    Experiment(
        name="memory",
        about="peak memory while running, hwopt and ONNX Runtime",
        chapter="peers",
        keys=keys,
        run=compare,
        section=section,
    ),
)
