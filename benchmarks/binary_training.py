"""BNEW against straight-through, tanh-annealing, Bop and real numbers, on Fashion-MNIST.

    python -m benchmarks binary_training

The network of Paren et al. 2022 at 1x28x28, on a third of the training images. All binary methods
start from the same network with binary activations and real weights; the real-valued network has
as many epochs as both phases together.
"""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch.utils.data import Dataset, Subset

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.records import TRAINING_THREADS, kept_graph, mean_and_spread, measured_on
from hwopt import data, models, train
from hwopt.job.recipe import Binary, Training, Variant
from hwopt.job.trainer import make_terms
from hwopt.passes.layers import binary_weights
from hwopt.report import markdown

SEEDS = (0, 1, 2)
METHODS = ("real", "bnew", "straight-through", "tanh-annealing", "bop")
OPTIONS: dict[str, Any] = {"threads": TRAINING_THREADS, "progress": False}
FOLDER = Path("runs") / "binary-training"


@dataclass(frozen=True)
class Settings:
    """What ``benchmarks.choose_binary_training`` chooses; the same for all methods.

    Attributes:
        width: of the first stage; 16 in the paper.
        images: that are trained on.
        first_epochs: with binary activations and real weights.
        epochs: after them, by a method.
        growth, frozen: of BNEW; the paper's growth is 35, in a hundred times as many steps.
    """

    width: int = 32
    images: int = 20_000
    first_epochs: int = 6
    epochs: int = 10
    learning_rate: float = 0.02
    batch_size: int = 128
    augment: str | None = "flip"
    growth: float = 4.0
    frozen: int = 1

    def training(self) -> Training:
        """Return the training by a method; the other phases differ in the number of epochs."""
        return Training(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            optimizer="adamw",
            schedule="linear",
            weight_decay=0.0,
            label_smoothing=0.0,
            augment=self.augment,
        )

    def first_phase(self) -> str:
        """Return a name for what the first phase depends on."""
        values = (self.width, self.images, self.first_epochs, self.learning_rate)
        return "-".join(str(value) for value in (*values, self.batch_size, self.augment))


CHOSEN = Settings()


def images(split: str, settings: Settings) -> Dataset[Any]:
    """Return the images that are trained on, or another split whole."""
    everything = data.load("fashion-mnist")
    if split != "train":
        return getattr(everything, split)
    return Subset(everything.train, range(settings.images))


def network(seed: int, width: int) -> hwopt.Graph:
    """Return the real-valued network with its first weights."""
    torch.manual_seed(seed)
    model = models.create("single_conv_resnet20", input_shape=(1, 28, 28), width=width)
    return hwopt.import_model(model, torch.zeros(1, 1, 28, 28))


def trained(
    graph: hwopt.Graph, training: Training, variant: Variant, seed: int, settings: Settings
) -> hwopt.Graph:
    """Train a graph as a variant of a recipe says."""
    module = graph.to_torch()
    terms = make_terms(training, graph, settings.images, variant, graph)
    train_on = images("train", settings)
    train.fit(module, train_on, terms=terms, seed=seed, **training.arguments(), **OPTIONS)
    return graph.with_weights_of(module)


def after_the_first_phase(seed: int, settings: Settings) -> hwopt.Graph:
    """Return the network with binary activations and real weights; all methods share it."""
    folder = FOLDER / f"{settings.first_phase()}-seed-{seed}"

    def trained_first() -> hwopt.Graph:
        binary = Binary(first_epochs=settings.first_epochs)
        training, variant = binary.first_phase(settings.training(), Variant(binary=binary))
        graph = hwopt.apply(network(seed, settings.width), "binarize")
        return trained(graph, training, variant, seed, settings)

    return kept_graph(folder, trained_first)


def run(method: str, seed: int, settings: dict[str, Any], split: str = "test") -> dict[str, Any]:
    """Train one network and return its accuracy; binary ones with weights of +1 and -1."""
    chosen = Settings(**settings)
    training = chosen.training()
    if method == "real":
        epochs = chosen.first_epochs + chosen.epochs
        training = training.model_copy(update={"epochs": epochs})
        graph = trained(network(seed, chosen.width), training, Variant(), seed, chosen)
    else:
        binary = Binary(method=method, growth=chosen.growth, frozen=chosen.frozen)  # type: ignore[arg-type]
        graph = after_the_first_phase(seed, chosen)
        graph = trained(graph, training, Variant(binary=binary), seed, chosen)
        assert all(bool((graph.parameter(w).abs() == 1).all()) for w in binary_weights(graph))
        graph = hwopt.apply(graph, "freeze-binary")
    return {"accuracy": train.evaluate(graph.to_torch(), images(split, chosen)).quality}


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Accuracy by method."""
    yield "## Training binary networks\n\n`python -m benchmarks binary_training`"
    yield (
        f"The network of BNEW (Paren et al. 2022), with {CHOSEN.width} channels in its first stage "
        f"(the paper: 16), on {CHOSEN.images:,} images of Fashion-MNIST: Adam, "
        f"{CHOSEN.learning_rate} falling to 0, batch {CHOSEN.batch_size}. "
        f"{CHOSEN.first_epochs} epochs with binary activations and real weights, then "
        f"{CHOSEN.epochs} by each method; all end with weights of exactly +1 and -1. The "
        "real-valued network (ReLU, no signs) has as many epochs in all. BNEW's growth is "
        f"{CHOSEN.growth:g}. Test accuracy in percent, mean ± standard deviation over seeds."
    )
    runs = [record for record in runs if record["settings"] == dataclasses.asdict(CHOSEN)]
    found = {
        method: [100 * r["accuracy"] for r in runs if r["method"] == method] for method in METHODS
    }
    yield markdown(
        ["weights", "accuracy", "seeds"],
        [[name, mean_and_spread(each), str(len(each))] for name, each in found.items() if each],
    )
    if found["real"] and found["bnew"] and found["straight-through"]:
        bnew = mean(found["bnew"])
        yield (
            f"BNEW has {mean(found['real']) - bnew:.2f} points less than real weights (goal: at "
            f"most 2.0) and {mean(found['straight-through']) - bnew:.2f} less than "
            "straight-through (goal: none)."
        )
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[list[Key]]:
    """Yield all trainings, to be run side by side."""
    settings = {"settings": dataclasses.asdict(CHOSEN)}
    yield [{"method": method, "seed": seed} | settings for seed in SEEDS for method in METHODS]


EXPERIMENTS = (
    Experiment(
        name="binary_training",
        about="BNEW against other trainings of binary networks",
        chapter="binary layers",
        keys=keys,
        run=run,
        section=section,
        alone=False,
    ),
)
