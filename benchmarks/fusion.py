"""Layer fusion: accuracy against unique parameters on a deep network of equal blocks.

    python -m benchmarks fusion

A ResNet-20 of one width on a fifth of Fashion-MNIST. All ratios start from the same trained
network; fusing goes on in rounds, with an epoch after each.
"""

from __future__ import annotations

import functools
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.l1_compression import stored
from benchmarks.records import TRAINING_THREADS, mean_and_spread, measured_on
from hwopt import data, train
from hwopt.report import markdown

SEEDS = (0, 1, 2)
#: Share of the equal layers fused: compression ratios of these are 1 to 3.3.
RATIOS = (0.0, 0.25, 0.5, 0.6, 0.7)
ROUNDS = 4
TRAINING: dict[str, Any] = {"batch_size": 64, "label_smoothing": 0.0, "augment": "flip"}
TRAINING |= {"threads": TRAINING_THREADS, "progress": False}


class Block(nn.Module):
    """Two convolutions and a sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return images of the same shape."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(x + self.norm2(self.conv2(y)))


def network(seed: int, width: int = 32, blocks: int = 10) -> nn.Module:
    """Return a stem that halves the image, equal blocks, and a linear layer."""
    torch.manual_seed(seed)
    stem = [nn.Conv2d(1, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    deep = [*stem, *(Block(width) for _ in range(blocks))]
    return nn.Sequential(*deep, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


@functools.cache
def images() -> tuple[Subset, Any]:
    """Return 12,000 training images and the whole test set."""
    everything = data.load("fashion-mnist")
    return Subset(everything.train_full, range(12_000)), everything.test


@functools.cache
def trained(seed: int) -> hwopt.Graph:
    """Return the network that all ratios start from."""
    graph = hwopt.import_model(network(seed), torch.zeros(1, 1, 28, 28))
    module = graph.to_torch()
    train.fit(module, images()[0], epochs=6, learning_rate=0.1, seed=seed, **TRAINING)
    return graph.with_weights_of(module)


def run(ratio: float, seed: int) -> dict[str, Any]:
    """Fuse in rounds; the same training without fusing for a ratio of 0."""
    training, test = images()
    graph = train.fit_in_rounds(
        trained(seed),
        training,
        f"fuse-layers{{ratio={ratio}}}",
        rounds=ROUNDS,
        epochs=1,
        learning_rate=0.05,
        seed=seed,
        **TRAINING,
    )
    with tempfile.TemporaryDirectory() as folder:
        artifact = hwopt.compile(graph, kernel_trials=0, output=Path(folder) / "artifact")
        constants = (artifact.path / "constants.bin").stat().st_size
    layers = [node.parameter("weight") for node in graph.nodes("conv2d")][1:]
    return {
        "accuracy": train.evaluate(graph.to_torch(), test).quality,
        "layers": len(layers),
        "unique": len(set(layers)),
        "parameters": graph.num_parameters(),
        "file_bytes": stored(graph),
        "constants_bytes": constants,
    }


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Accuracy by ratio."""
    yield "## Layer fusion\n\n`python -m benchmarks fusion`"
    yield (
        f"A network of 10 equal blocks (20 convolutions 3x3, 32 channels) on 12,000 images of "
        f"Fashion-MNIST, fused in {ROUNDS} rounds with an epoch after each. Means over seeds."
    )
    rows = []
    for ratio in RATIOS:
        found = [record for record in runs if record["ratio"] == ratio]
        if not found:
            continue
        accuracies = [100 * record["accuracy"] for record in found]
        dense = {r["seed"]: r for r in runs if r["ratio"] == 0}
        first = found[0]
        rows.append(
            [
                f"{first['unique']} of {first['layers']}",
                f"{first['layers'] / first['unique']:.2f}",
                mean_and_spread(accuracies),
                *(
                    f"{mean(r[name] / dense[r['seed']][name] for r in found):.2f}"
                    for name in ("parameters", "file_bytes", "constants_bytes")
                ),
                str(len(found)),
            ]
        )
    titles = [
        "weights of layers",
        "ratio",
        "accuracy %",
        "parameters",
        "file",
        "compiled constants",
    ]
    yield markdown([*titles, "seeds"], rows)
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[list[Key]]:
    """Yield all trainings, to be run side by side."""
    yield [{"ratio": ratio, "seed": seed} for seed in SEEDS for ratio in RATIOS]


EXPERIMENTS = (
    Experiment(
        name="fusion",
        about="fused layers: accuracy against unique parameters",
        chapter="compression",
        keys=keys,
        run=run,
        section=section,
        alone=False,
    ),
)
