"""Whole binary networks beside the same networks in float32, hwopt's and every peer's.

    python -m benchmarks binary_nets

``binarize`` makes the binary ones: body in bits; first layer, shortcuts and last layer in floats.
Weights are random: the time does not depend on them.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.records import measured_on
from benchmarks.side_by_side import medians_ms
from hwopt import models, targets
from hwopt.compiler.profile import profile
from hwopt.report import markdown
from hwopt.targets.peak import measure_peak

NETS = (
    ("single_conv_resnet20", (1, 28, 28)),
    ("single_conv_resnet20", (3, 32, 32)),
    ("resnet18", (3, 224, 224)),
)
KINDS = ("binary layers", "float layers", "the rest")


def run(net: str, shape: list[int], used_threads: int) -> dict[str, Any]:
    """Return medians in ms, and the share of the time that kinds of kernels take."""
    torch.manual_seed(0)
    x = torch.randn(1, *shape)
    dense = hwopt.import_model(models.create(net, input_shape=tuple(shape)).eval(), x)
    graphs = {"binary": hwopt.apply(dense, "binarize,freeze-binary"), "float32": dense}
    target = targets.get("host", threads=used_threads)
    artifacts = {name: hwopt.compile(graph, target=target) for name, graph in graphs.items()}
    inputs = (x.numpy(),)
    for name, artifact in artifacts.items():
        expected = graphs[name].to_torch().eval()(x).detach().numpy()
        np.testing.assert_allclose(artifact(*inputs), expected, rtol=0, atol=1e-4)
    return {
        "median_ms": medians_ms(artifacts, dense, inputs, used_threads, runs=300),
        "kernels": _kernels(artifacts["binary"], measure_peak(target)),
    }


def _kernels(artifact: hwopt.Artifact, peak: Any) -> list[dict[str, Any]]:
    """Return the profile of the binary network."""
    kinds = {
        k.name: KINDS[0] if k.binary else KINDS[1] if k.macs else KINDS[2]
        for k in artifact.manifest.kernels
    }
    return [
        {
            "name": kernel.name,
            "kind": kinds[kernel.name],
            "calls": kernel.calls,
            "us": round(kernel.us, 2),
            "of_limit": round(max(kernel.compute, kernel.memory), 3),
        }
        for kernel in profile(artifact, peak, runs=200)
    ]


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Times and where they go."""
    yield "## Binary networks\n\n`python -m benchmarks binary_nets`"
    yield (
        "Batch 1, all in one run. *Times faster*: than the same network in float32 by the fastest "
        "peer, and by hwopt. The network of BNEW has ReLUs in float32, shifts and PReLUs when "
        "binary."
    )
    rows, parts = [], []
    for record in sorted(runs, key=lambda r: -r["used_threads"]):
        medians = dict(record["median_ms"])
        ours, own = medians.pop("binary"), medians.pop("float32")
        fastest = min(medians, key=medians.__getitem__)
        net = f"{record['net']}, {'x'.join(map(str, record['shape']))}"
        threads = str(record["used_threads"])
        times = [f"{ours:.3f}", f"{medians[fastest]:.3f} ({fastest})", f"{own:.3f}"]
        ratios = [f"**{medians[fastest] / ours:.1f}**", f"{own / ours:.1f}"]
        rows.append([net, threads, *times, *ratios])
        parts.append([net, threads, *_shares(record["kernels"])])
    titles = ["net", "threads", "binary, ms", "fastest peer, ms", "hwopt's float32, ms"]
    yield markdown([*titles, "times faster", "than hwopt's float32"], rows)
    yield "Where the binary networks' time goes, each kernel timed inside the running model:"
    yield markdown(["net", "threads", *KINDS, "the longest outside binary layers"], parts)
    yield measured_on(runs)


def _shares(kernels: list[dict[str, Any]]) -> list[str]:
    total = sum(kernel["us"] for kernel in kernels)
    cells = []
    for kind in KINDS:
        of_kind = [kernel for kernel in kernels if kernel["kind"] == kind]
        us, calls = (sum(kernel[key] for kernel in of_kind) for key in ("us", "calls"))
        cells.append(f"{us / total:.0%} ({us:.0f} µs, {calls} calls)")
    longest = max((k for k in kernels if k["kind"] != KINDS[0]), key=lambda k: k["us"])
    return [*cells, f"{longest['name']}: {longest['us']:.0f} µs"]


def keys(_: Namespace) -> Iterator[Key]:
    """Yield every network with two threads and with one."""
    for threads in (2, 1):
        for net, shape in NETS:
            yield {"net": net, "shape": list(shape), "used_threads": threads}


EXPERIMENTS = (
    Experiment(
        name="binary_nets",
        about="whole binary networks beside the same in float32",
        chapter="binary layers",
        keys=keys,
        run=run,
        section=section,
    ),
)
