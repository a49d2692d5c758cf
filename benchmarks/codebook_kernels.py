"""Codebooks: decoded when the model is loaded, or in the kernel? Linear layers, one row.

    python -m benchmarks codebook_kernels

The kernel that reads floats against the one that reads codes; all alternate in one run.
"""

from __future__ import annotations

import functools
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.records import measured_on
from hwopt import targets
from hwopt.compiler import measure
from hwopt.report import markdown

#: Outputs and inputs.
LAYERS = ((256, 256), (512, 512), (1024, 1024), (2048, 2048), (4096, 4096))
BITS = (8, 6, 5, 4)


def run(outputs: int, inputs: int, used_threads: int) -> dict[str, Any]:
    """Return the medians in ms, and whether the compiler took the codes."""
    torch.manual_seed(0)
    x = torch.randn(1, inputs)
    graph = hwopt.import_model(nn.Linear(inputs, outputs), x)
    target = targets.get("host", threads=used_threads)
    variants = {"floats": graph} | {
        f"{bits} bits": hwopt.apply(graph, f"share-codebook{{bits={bits},steps=3}}")
        for bits in BITS
    }
    artifacts = {name: hwopt.compile(variant, target=target) for name, variant in variants.items()}
    for name, artifact in artifacts.items():
        weight, bias = (variants[name].parameter(n).double() for n in ("weight", "bias"))
        expected = torch.nn.functional.linear(x.double(), weight, bias).numpy()
        assert np.abs(artifact(x.numpy()) - expected).max() <= 1e-5 * np.abs(expected).max()
    calls = {name: functools.partial(a, x.numpy()) for name, a in artifacts.items()}
    latencies = measure(calls, threads=used_threads, runs=400)
    return {
        "median_ms": {name: latency.median_ms for name, latency in latencies.items()},
        "in_kernel": {
            name: any("codebook" in kernel.name for kernel in artifact.manifest.kernels)
            for name, artifact in artifacts.items()
        },
    }


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """The ratios."""
    yield "## Codebooks in kernels\n\n`python -m benchmarks codebook_kernels`"
    yield (
        "Linear layers at batch 1. Latency to that of the same layer without a codebook; in bold "
        "where codes are looked up in the kernel. The others are decoded when the model is loaded: "
        "the same kernel as without a codebook, so how far they are from 1 is noise."
    )
    rows = []
    for record in sorted(runs, key=lambda r: (r["used_threads"], r["outputs"])):
        medians, in_kernel = record["median_ms"], record["in_kernel"]
        cells = []
        for name in (f"{bits} bits" for bits in BITS):
            ratio = f"{medians[name] / medians['floats']:.2f}"
            cells.append(f"**{ratio}**" if in_kernel[name] else ratio)
        layer = f"{record['outputs']} x {record['inputs']}"
        rows.append([layer, str(record["used_threads"]), f"{medians['floats']:.4f}", *cells])
    yield markdown(["layer", "threads", "floats, ms", *(f"{bits} bits" for bits in BITS)], rows)
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[Key]:
    """Yield every layer with two threads and with one."""
    for threads in (2, 1):
        for outputs, inputs in LAYERS:
            yield {"outputs": outputs, "inputs": inputs, "used_threads": threads}


EXPERIMENTS = (
    Experiment(
        name="codebook_kernels",
        about="kernels that read codes against those that read floats",
        chapter="compression",
        keys=keys,
        run=run,
        section=section,
    ),
)
