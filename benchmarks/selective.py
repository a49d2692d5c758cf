"""Answers with few errors: one-sided prediction beside the softmax response.

    python -m benchmarks selective

One network a cost, or one trained as usual, learns on the same images for the same epochs; network
and threshold are chosen on held-out images, and what they give is measured on the test set.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Dataset, Subset

from benchmarks.experiment import Experiment, Key
from benchmarks.records import TRAINING_THREADS, mean_and_spread, measured_on
from hwopt import data, models, train
from hwopt.errors import HwoptError
from hwopt.files import atomic_file
from hwopt.report import markdown
from hwopt.routing.selective import choose_threshold, select
from hwopt.train.one_sided import OneSided

SEEDS = (0, 1, 2)
SHAPE = (1, 28, 28)
IMAGES, EPOCHS = 20_000, 10
#: Of one-sided prediction: the two of the paper and one between.
COSTS = (0.49, 1.0, 1.67)
#: The authors' 1e-4 is meant for 70,000 steps; here are 1,560.
MULTIPLIER_RATE = 5e-3
METHODS = {"softmax response": (None,), "one-sided": COSTS}
ERRORS = (0.02, 0.01, 0.005)
COVERAGES = (1.0, 0.95, 0.9)
BUDGET = {"images": IMAGES, "epochs": EPOCHS, "multiplier_rate": MULTIPLIER_RATE}
FOLDER = Path("runs") / "selective"


def scores(cost: float | None, seed: int) -> dict[str, torch.Tensor]:
    """Return the probabilities of a network on held-out and test images, kept in a file."""
    path = FOLDER / f"{cost}-{MULTIPLIER_RATE}-{IMAGES}-{EPOCHS}-{seed}.safetensors"
    if path.exists():
        return load_file(path)
    images = data.load("fashion-mnist")
    torch.manual_seed(seed)
    model = models.create("resnet8", input_shape=SHAPE, num_classes=10)
    train.fit(
        model,
        Subset(images.train, range(IMAGES)),
        epochs=EPOCHS,
        learning_rate=0.1,
        label_smoothing=0.0,
        augment="flip",
        terms=[] if cost is None else [OneSided(10, cost, multiplier_rate=MULTIPLIER_RATE)],
        seed=seed,
        threads=TRAINING_THREADS,
        progress=False,
    )
    found = {
        "held out": probabilities(model, images.validation),
        "test": probabilities(model, images.test),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        save_file(found, temporary)
    return found


def probabilities(model: torch.nn.Module, images: Dataset[Any]) -> torch.Tensor:
    """Return the softmax of all answers, float32 (n, classes)."""
    with torch.no_grad():
        return torch.cat([model(inputs).softmax(1) for inputs, _ in data.batches(images, 500)])


def labels(images: Dataset[Any]) -> np.ndarray:
    """Return all labels, int64 (n,)."""
    return torch.cat([of for _, of in data.batches(images, 500)]).numpy()


def run(method: str, seed: int, **_: Any) -> dict[str, Any]:
    """Return [coverage, error] on the test set for errors and coverages wished for."""
    images = data.load("fashion-mnist")
    found = [scores(cost, seed) for cost in METHODS[method]]
    held_out = [of["held out"].numpy() for of in found]
    test, of_test = [of["test"].numpy() for of in found], labels(images.test)
    of_held_out = labels(images.validation)

    def measured(**wish: float) -> list[float] | None:
        try:
            chosen = choose_threshold(held_out, of_held_out, **wish)
        except HwoptError:
            return None  # no threshold gives it
        got = select(test[chosen.model], of_test, chosen.threshold)
        return [got.coverage, got.error]

    return {
        "for errors": {str(error): measured(error=error) for error in ERRORS},
        "for coverages": {str(coverage): measured(coverage=coverage) for coverage in COVERAGES},
    }


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Two tables."""
    yield "## Answers with few errors\n\n`python -m benchmarks selective`"
    yield (
        f"ResNet-8 on Fashion-MNIST, {IMAGES:,} images, {EPOCHS} epochs. One-sided prediction: one "
        f"network for each cost of {', '.join(map(str, COSTS))}; network and threshold are chosen "
        "on 5,000 held-out images. On the test set, in percent, mean ± standard deviation over "
        f"seeds {', '.join(map(str, SEEDS))}."
    )
    runs = [run for run in runs if BUDGET.items() <= run.items()]
    for key, wishes, what in (("for errors", ERRORS, "error"), ("for coverages", COVERAGES, "")):
        rows = []
        for method in METHODS:
            found = [run[key] for run in runs if run["method"] == method]
            if found:
                rows.append([method, *(cell(found, str(wish), bool(what)) for wish in wishes)])
        titles = [f"{what or 'coverage'} of {100 * wish:g} %" for wish in wishes]
        shown = "coverage (error)" if what else "error (coverage)"
        yield f"For {'an error' if what else 'a coverage'}: {shown}"
        yield markdown(["method", *titles], rows)
    yield measured_on(runs)


def cell(found: list[dict[str, Any]], wish: str, coverage_first: bool) -> str:
    """Return the two figures that a wish gave."""
    pairs = [of[wish] for of in found]
    if any(pair is None for pair in pairs):
        return "not reached"
    order = (0, 1) if coverage_first else (1, 0)
    first, second = ([100 * pair[place] for pair in pairs] for place in order)
    return f"{mean_and_spread(first)} ({sum(second) / len(second):.2f})"


def keys(_: Namespace) -> Iterator[list[Key]]:
    """Yield all trainings, to be run side by side."""
    yield [{"method": method, "seed": seed, **BUDGET} for method in METHODS for seed in SEEDS]


EXPERIMENTS = (
    Experiment(
        name="selective",
        about="answers with few errors: one-sided prediction beside the softmax response",
        chapter="routing",
        keys=keys,
        run=run,
        section=section,
        alone=False,
    ),
)
