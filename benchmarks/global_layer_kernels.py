"""The Global layer and its time step beside the same in every float32 peer.

    python -m benchmarks global_layer_kernels

Eight equal ones a net, so that what a call of a runtime costs by itself counts little. *Step*: the
time step with batch norm and ReLU, which hwopt makes one kernel of; velocities are inputs. *Layer*:
with the convolutions that make velocities and diffusivities.
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
from benchmarks.side_by_side import FLOAT32, medians_ms
from hwopt import targets
from hwopt.layers import GlobalLayer, advection_diffusion
from hwopt.report import markdown

#: Rows and columns, channels: of ResNet-Global on images of 28 and 32 pixels, and larger.
SHAPES = ((28, 16), (14, 32), (7, 64), (32, 16), (56, 64))
DEPTH = 8
KINDS = ("step", "layer, constant diffusivity", "layer")


class Steps(nn.Module):
    """Time steps, each with batch norm and ReLU; the velocities are those of the first channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(DEPTH))

    def forward(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Map (N, C, H, W) to the means (N, C) over the image."""
        for norm in self.norms:
            x = torch.relu(norm(advection_diffusion(x, x, u, v, x)))
        return x.mean((2, 3))


class Layers(nn.Module):
    """Whole Global layers."""

    def __init__(self, channels: int, diffusivity: float | None) -> None:
        super().__init__()
        layers = [GlobalLayer(channels, diffusivity=diffusivity) for _ in range(DEPTH)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the means (N, C) over the image."""
        result: Tensor = self.layers(x)
        return result.mean((2, 3))


def network(kind: str, channels: int) -> nn.Module:
    """Return a net in eval mode, with norms that scale and shift."""
    constant = 1.0 if kind == KINDS[1] else None
    net = Steps(channels) if kind == KINDS[0] else Layers(channels, constant)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net.eval()


def run(size: int, channels: int, kind: str, used_threads: int) -> dict[str, Any]:
    """Return the medians in ms of hwopt and every peer, and the kernels a layer becomes."""
    torch.manual_seed(0)
    net = network(kind, channels)
    count = 3 if kind == KINDS[0] else 1
    inputs = [torch.rand(1, channels, size, size) for _ in range(count)]
    graph = hwopt.import_model(net, inputs)
    artifact = hwopt.compile(graph, target=targets.get("host", threads=used_threads))
    arrays = tuple(x.numpy() for x in inputs)
    expected = net.double()(*(x.double() for x in inputs)).detach().numpy()
    np.testing.assert_allclose(artifact(*arrays), expected, rtol=1e-4, atol=1e-5)
    return {
        "median_ms": medians_ms({"hwopt": artifact}, graph, arrays, used_threads, runs=200),
        "kernels": sum(kernel.calls for kernel in artifact.manifest.kernels),
    }


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """The ratios."""
    yield "## Global layers\n\n`python -m benchmarks global_layer_kernels`"
    yield (
        f"{DEPTH} in a row, batch 1; all runtimes alternate in one run. *Step*: one time step with "
        "its batch norm and ReLU. *Layer*: with the depthwise convolutions that make velocities, "
        "and diffusivities unless those are constant. Microseconds each; how many times as long "
        "the peers take."
    )
    names = [name for name in FLOAT32 if any(name in record["median_ms"] for record in runs)]
    rows = []
    for record in sorted(
        runs, key=lambda r: (KINDS.index(r["kind"]), -r["used_threads"], r["channels"], r["size"])
    ):
        medians = record["median_ms"]
        size = f"{record['size']}x{record['size']}x{record['channels']}"
        rows.append(
            [
                record["kind"],
                size,
                str(record["used_threads"]),
                f"{medians['hwopt'] / DEPTH * 1000:.1f}",
                *(
                    f"{medians[name] / medians['hwopt']:.1f}" if name in medians else "-"
                    for name in names
                ),
            ]
        )
    yield markdown(["what", "image", "threads", "hwopt, µs", *names], rows)
    yield measured_on(runs)


def options(parser: ArgumentParser) -> None:
    """Add the number of threads."""
    parser.add_argument("--threads", type=int, default=2)


def keys(chosen: Namespace) -> Iterator[Key]:
    """Yield every kind of net for every shape."""
    for kind in KINDS:
        for size, channels in SHAPES:
            shape = {"size": size, "channels": channels}
            yield {**shape, "kind": kind, "used_threads": chosen.threads}


EXPERIMENTS = (
    Experiment(
        name="global_layer_kernels",
        about="Global layers beside the same in every peer",
        chapter="kernels",
        keys=keys,
        run=run,
        section=section,
        options=options,
    ),
)
