"""Binary 3x3 convolutions beside the float32 ones of hwopt and of every peer.

    python -m benchmarks binary_kernels

Eight equal layers a net and a mean over the image, so that what a call of a runtime costs by
itself counts little. In a chain the signs that a layer reads come packed from the layer before;
where every layer's input is added to its output, each kernel reads floats, packs their signs, and
writes floats.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.records import measured_on
from benchmarks.side_by_side import medians_ms
from hwopt import targets
from hwopt.graph.binary import sign
from hwopt.report import markdown
from hwopt.targets.peak import measure_peak

#: Rows and columns, channels in and out.
LAYERS = ((56, 64), (28, 128), (14, 256))
DEPTH = 8
NETS = ("chain", "residual")


class Layers(nn.Module):
    """Equal 3x3 convolutions, of signs or of floats; their inputs are added to them if residual."""

    def __init__(self, channels: int, *, binary: bool, residual: bool) -> None:
        super().__init__()
        drawn = [sign(torch.randn(channels, channels, 3, 3)) for _ in range(DEPTH)]
        self.weights = nn.ParameterList(drawn if binary else [w / channels for w in drawn])
        self.binary, self.residual = binary, residual

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to the means (N, channels) over the image."""
        conv2d = torch.ops.hwopt.binary_conv2d if self.binary else torch.conv2d
        for weight in self.weights:
            y = conv2d(x, weight, padding=[1, 1])
            x = y + x if self.residual else y
        return x.mean((2, 3))


def run(size: int, channels: int, net: str, used_threads: int) -> dict[str, Any]:
    """Return the medians in ms of the whole net, and how near the binary one comes to its limit."""
    torch.manual_seed(0)
    x = torch.randint(-3, 4, (1, channels, size, size)).float()
    target = targets.get("host", threads=used_threads)
    residual = net == "residual"
    modules = {
        name: Layers(channels, binary=name == "binary", residual=residual)
        for name in ("binary", "float32")
    }
    graphs = {name: hwopt.import_model(module, x) for name, module in modules.items()}
    graphs["binary"] = hwopt.apply(graphs["binary"], "freeze-binary")
    artifacts = {name: hwopt.compile(graph, target=target) for name, graph in graphs.items()}
    # All are whole numbers, which float32 adds without an error; the mean alone is rounded.
    expected = modules["binary"].double()(x.double()).detach().numpy()
    np.testing.assert_allclose(artifacts["binary"](x.numpy()), expected, rtol=1e-6)
    inputs = (x.numpy(),)
    peaks = [measure_peak(target).binary_gops]
    medians = medians_ms(artifacts, graphs["float32"], inputs, used_threads, runs=200)
    operations = 2 * sum(k.macs * k.calls for k in artifacts["binary"].manifest.kernels if k.binary)
    # The clock is not always the same, so neither is the limit: the higher one is taken.
    peaks.append(measure_peak(target).binary_gops)
    limit_ms = operations / max(peaks) / 1e6
    return {"median_ms": medians, "of_limit": limit_ms / medians["binary"]}


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """The ratios."""
    yield "## Binary convolutions\n\n`python -m benchmarks binary_kernels`"
    yield (
        f"3x3 convolutions with padding 1, {DEPTH} in a row, batch 1; all runtimes alternate in "
        "one run. *Chain*: a layer hands packed signs to the next. *Residual*: the input is added "
        "to the output, so every layer reads floats, packs their signs and writes floats. "
        "Microseconds a layer; times faster than the fastest float32 peer, and than hwopt's own "
        "float32 kernel; share of the time that would be enough if the processor did nothing but "
        "exclusive or, count and add on full registers, as measured in the same process."
    )
    rows = []
    for record in sorted(
        runs, key=lambda r: (NETS.index(r["net"]), -r["used_threads"], -r["size"])
    ):
        medians = dict(record["median_ms"])
        ours, own = medians.pop("binary"), medians.pop("float32")
        fastest = min(medians, key=medians.__getitem__)
        size, channels = record["size"], record["channels"]
        rows.append(
            [
                f"{record['net']}, {size}x{size}x{channels}",
                str(record["used_threads"]),
                f"{ours / DEPTH * 1000:.1f}",
                f"{medians[fastest] / DEPTH * 1000:.1f} ({fastest})",
                f"**{medians[fastest] / ours:.1f}**",
                f"{own / ours:.1f}",
                f"{record['of_limit']:.0%}",
            ]
        )
    titles = ["layers", "threads", "binary, µs", "fastest peer, µs", "times faster"]
    yield markdown([*titles, "than hwopt's float32", "of the limit"], rows)
    yield measured_on(runs)


def options(parser: ArgumentParser) -> None:
    """Add the number of threads."""
    parser.add_argument("--threads", type=int, default=2)


def keys(chosen: Namespace) -> Iterator[Key]:
    """Yield every layer of both nets."""
    for net in NETS:
        for size, channels in LAYERS:
            layer = {"size": size, "channels": channels, "net": net}
            yield {**layer, "used_threads": chosen.threads}


EXPERIMENTS = (
    Experiment(
        name="binary_kernels",
        about="binary 3x3 convolutions beside float32 ones of every peer",
        chapter="binary layers",
        keys=keys,
        run=run,
        section=section,
        options=options,
    ),
)
