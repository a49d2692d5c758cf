"""Does unstructured sparsity make linear layers and 1x1 convolutions faster? 90 % zeros.

    python -m benchmarks sparse_kernels

The compiled dense kernel, which knows nothing of zeros, against a product in compressed rows (CSR),
as scipy (linear layers, one thread) and torch compute it; all alternate in one run.
"""

from __future__ import annotations

import functools
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import nn

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.records import measured_on
from hwopt import targets
from hwopt.compiler import measure
from hwopt.report import markdown
from hwopt.targets.threads import use_threads

#: Outputs, inputs, and pixels (1 is a linear layer).
LAYERS = ((100, 300, 1), (512, 512, 1), (4096, 4096, 1), (64, 64, 28 * 28), (256, 256, 14 * 14))
ZEROS = 0.9


def run(outputs: int, inputs: int, pixels: int, used_threads: int) -> dict[str, Any]:
    """Return the medians in ms and the largest difference from float64."""
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
    torch.manual_seed(0)
    torch.set_num_threads(used_threads)
    side = int(pixels**0.5)
    layer: nn.Module = nn.Linear(inputs, outputs, bias=False)
    if pixels > 1:
        layer = nn.Conv2d(inputs, outputs, 1, bias=False)
    shape = (1, inputs, side, side) if pixels > 1 else (1, inputs)
    graph = hwopt.apply(
        hwopt.import_model(layer, torch.randn(shape)), f"prune-weights{{ratio={ZEROS}}}"
    )
    artifact = hwopt.compile(graph, target=targets.get("host", threads=used_threads))
    weight = graph.parameter("weight").reshape(outputs, inputs)
    x = torch.randn(shape)
    flat = x.reshape(inputs, pixels)
    rows = scipy.sparse.csr_matrix(weight.numpy())
    torch_rows = weight.to_sparse_csr()
    array = np.ascontiguousarray(flat.numpy())
    calls: dict[str, Callable[[], Any]] = {"dense kernel": functools.partial(artifact, x.numpy())}
    if used_threads == 1:
        calls["scipy CSR"] = lambda: rows @ array
    calls["torch CSR"] = lambda: torch_rows @ flat
    expected = weight.double() @ flat.double()
    for call in calls.values():
        got = torch.as_tensor(np.asarray(call())).reshape(outputs, pixels).double()
        assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()
    use_threads(used_threads)
    latencies = measure(calls, threads=used_threads, runs=400)
    return {name: latency.median_ms for name, latency in latencies.items()}


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """The ratios."""
    yield "## Unstructured sparsity in kernels\n\n`python -m benchmarks sparse_kernels`"
    yield (
        f"{ZEROS:.0%} zeros, by magnitude of random weights. hwopt's kernels are dense: zeros "
        "change nothing in them. Beside them stand products that leave the zeros out, in "
        "compressed rows (CSR); a ratio below 1 says that such a kernel would pay. The time of the "
        "dense kernel holds a change of layout of the model's input and output, that of CSR none."
    )
    rows = []
    for record in runs:
        outputs, inputs, pixels = (record[name] for name in ("outputs", "inputs", "pixels"))
        dense = record["dense kernel"]
        rows.append(
            [
                f"{outputs} x {inputs}" + (f", {pixels} pixels" if pixels > 1 else ""),
                str(record["used_threads"]),
                f"{dense:.4f}",
                *(
                    f"{record[name] / dense:.2f}" if name in record else "–"
                    for name in ("scipy CSR", "torch CSR")
                ),
            ]
        )
    titles = ["layer", "threads", "dense kernel, ms", "scipy CSR to it", "torch CSR to it"]
    yield markdown(titles, rows)
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[Key]:
    """Yield every layer with one and two threads."""
    for threads in (1, 2):
        for outputs, inputs, pixels in LAYERS:
            layer = {"outputs": outputs, "inputs": inputs, "pixels": pixels}
            yield {**layer, "used_threads": threads}


EXPERIMENTS = (
    Experiment(
        name="sparse_kernels",
        about="unstructured zeros against dense kernels",
        chapter="compression",
        keys=keys,
        run=run,
        section=section,
    ),
)
