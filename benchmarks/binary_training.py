"""BNEW against straight-through, tanh-annealing, Bop and real numbers, on Fashion-MNIST.

    python -m benchmarks.binary_training

The network of Paren et al. 2022 at 1x28x28, on half of the training images. All binary methods
start from the same network with binary activations and real weights; the real-valued network has
as many epochs as both phases together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, Subset

import hwopt
from benchmarks.records import TRAINING_THREADS, Records, mean_and_spread, measured_on
from hwopt import data, models, train
from hwopt.optimize.recipe import Binary, Training, Variant
from hwopt.optimize.terms import make_terms, with_real_weights
from hwopt.passes.layers import binary_weights
from hwopt.report import markdown

SEEDS = (0, 1, 2)
METHODS = ("real", "bnew", "straight-through", "tanh-annealing", "bop")
IMAGES = 30_000
FIRST_EPOCHS = 6
TRAINING = Training(
    epochs=10,
    learning_rate=0.02,
    optimizer="adamw",
    schedule="linear",
    weight_decay=0.0,
    label_smoothing=0.0,
    augment="flip",
)
#: Of BNEW, which the paper has at 35 in a hundred times as many steps.
GROWTH = 4.0
OPTIONS: dict[str, Any] = {"threads": TRAINING_THREADS, "progress": False}
FOLDER = Path("runs") / "binary-training"


def images(split: str) -> Dataset[Any]:
    """Return the images that are trained on, or another split whole."""
    everything = data.load("fashion-mnist")
    if split != "train":
        return getattr(everything, split)  # type: ignore[no-any-return]
    return Subset(everything.train, range(IMAGES))


def network(seed: int) -> hwopt.Graph:
    """Return the real-valued network with its first weights."""
    torch.manual_seed(seed)
    model = models.create("single_conv_resnet20", input_shape=(1, 28, 28))
    return hwopt.import_model(model, torch.zeros(1, 1, 28, 28))


def trained(graph: hwopt.Graph, training: Training, variant: Variant, seed: int) -> hwopt.Graph:
    """Train a graph as a variant of a recipe says."""
    module = graph.to_torch()
    terms = make_terms(training, graph, IMAGES, variant, graph)
    arguments = training.arguments()
    train.fit(module, images("train"), terms=terms, seed=seed, **arguments, **OPTIONS)
    return graph.with_weights_of(module)


def after_the_first_phase(seed: int) -> hwopt.Graph:
    """Return the network with binary activations and real weights; all methods share it."""
    folder = FOLDER / f"first-phase-{seed}"
    if not folder.exists():
        variant = Variant(binary=Binary(first_epochs=FIRST_EPOCHS))
        training, variant = with_real_weights(TRAINING, variant)
        graph = hwopt.apply(network(seed), "binarize")
        trained(graph, training, variant, seed).save(folder)
    return hwopt.Graph.load(folder)


def run(method: str, seed: int, split: str = "test") -> dict[str, Any]:
    """Train one network and return its accuracy; binary ones with weights of +1 and -1."""
    if method == "real":
        epochs = FIRST_EPOCHS + TRAINING.epochs
        training = TRAINING.model_copy(update={"epochs": epochs})
        graph = trained(network(seed), training, Variant(), seed)
    else:
        binary = Binary(method=method, growth=GROWTH)  # type: ignore[arg-type]
        graph = after_the_first_phase(seed)
        graph = trained(graph, TRAINING, Variant(binary=binary), seed)
        assert all(bool((graph.parameter(w).abs() == 1).all()) for w in binary_weights(graph))
        graph = hwopt.apply(graph, "freeze-binary")
    return {"accuracy": train.evaluate(graph.to_torch(), images(split)).accuracy}


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Accuracy by method."""
    yield "## Training binary networks\n\n`python -m benchmarks.binary_training`"
    yield (
        f"The network of BNEW (Paren et al. 2022) on {IMAGES:,} images of Fashion-MNIST: Adam, "
        f"{TRAINING.learning_rate} falling to 0, batch {TRAINING.batch_size}. {FIRST_EPOCHS} "
        f"epochs with binary activations and real weights, then {TRAINING.epochs} by each "
        "method; all end with weights of exactly +1 and -1. The real-valued network (ReLU, no "
        f"signs) has as many epochs in all. BNEW's growth is {GROWTH:g}; it and the learning rate "
        "were chosen on held-out images with another seed, in trials that are not kept. Test "
        "accuracy in percent, mean ± standard deviation over seeds."
    )
    rows = []
    for method in METHODS:
        found = [100 * r["accuracy"] for r in runs if r["method"] == method]
        cell = mean_and_spread(found) if found else "not measured"
        rows.append([method, cell, str(len(found))])
    yield markdown(["weights", "accuracy", "seeds"], rows)
    yield measured_on(runs)


def main() -> None:
    keys = [{"method": method, "seed": seed} for seed in SEEDS for method in METHODS]
    Records("binary_training").run_all(keys, run)


if __name__ == "__main__":
    main()
