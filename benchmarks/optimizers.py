"""The optimizers of hwopt against tuned ones: accuracy, and how much one number matters.

    python -m benchmarks optimizers

Every method has one number, chosen on held-out images; the schedule of SGD is chosen besides. Then
it trains with three other seeds and is tested.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, Subset

from benchmarks.experiment import Experiment, Key
from benchmarks.records import TRAINING_THREADS, Records, mean_and_spread, measured_on
from hwopt import data, models, train
from hwopt.errors import HwoptError
from hwopt.report import markdown
from hwopt.report.plots import curves, png

SHAPE = (1, 28, 28)
#: Few enough to be learned by heart: the steps of ALI-G and BORAT suppose a loss that can become 0.
IMAGES = 2_000
HELD_OUT = 10_000
EPOCHS = 40
#: By name: keyword arguments of the zoo's resnet8.
NETS: dict[str, dict[str, Any]] = {"width 16": {}, "width 24": {"width": 24}}
#: Four decades, for the first net.
RATES = (0.001, 0.01, 0.1, 1.0, 10.0)
#: Then what is around the best one; the second net takes the numbers of the first.
AROUND = (10**-0.5, 1.0, 10**0.5)
#: What all lines of results depend on.
BUDGET = {"images": IMAGES, "epochs": EPOCHS}
CHOOSING_SEED = 100
SEEDS = (0, 1, 2)
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "optimizers.png"


def steps_at(*drops: float) -> Callable[[float], float]:
    """Return a schedule that divides the rate by ten at parts of the training."""
    return lambda progress: 0.1 ** sum(progress >= drop for drop in drops)


#: Arguments of ``fit`` by method.
METHODS: dict[str, dict[str, Any]] = {
    "SGD, steps at 1/2 and 3/4": {"optimizer": "sgd", "schedule": steps_at(0.5, 0.75)},
    "SGD, one-cycle": {"optimizer": "sgd", "schedule": "one-cycle"},
    "SGD, constant": {"optimizer": "sgd"},
    "AdamW": {"optimizer": "adamw"},
    "ALI-G": {"optimizer": "alig"},
    "BORAT 3": {"optimizer": "borat", "optimizer_options": {"pieces": 3}},
    "BORAT 5": {"optimizer": "borat", "optimizer_options": {"pieces": 5}},
    "ALI-G+": {"optimizer": "alig-plus"},
    "VCSG": {"optimizer": "vcsg"},
}
SCHEDULED = tuple(METHODS)[:2]


def split() -> tuple[Dataset[Any], Dataset[Any], Dataset[Any]]:
    """Return images to train on, images held out, and the test set."""
    images = data.load("fashion-mnist")
    held_out = Subset(images.train, range(IMAGES, IMAGES + HELD_OUT))
    return Subset(images.train, range(IMAGES)), held_out, images.test


def run(net: str, method: str, rate: float, seed: int, part: str, **_: Any) -> dict[str, Any]:
    """Train, and evaluate on the part; a training that diverged has no accuracy."""
    training, held_out, test = split()
    torch.manual_seed(seed)
    model = models.create("resnet8", input_shape=SHAPE, num_classes=10, **NETS[net])
    options: dict[str, Any] = {"schedule": "constant", "label_smoothing": 0.0} | METHODS[method]
    try:
        history = train.fit(
            model,
            training,
            epochs=EPOCHS,
            learning_rate=rate,
            seed=seed,
            threads=TRAINING_THREADS,
            progress=False,
            **options,
        )
    except HwoptError as error:
        if "the loss became" not in str(error):
            raise
        return {"accuracy": None}
    accuracy = train.evaluate(model, held_out if part == "held out" else test).quality
    return {"accuracy": accuracy, "training_loss": history.epochs[-1].loss}


def key(net: str, method: str, rate: float, seed: int, part: str) -> dict[str, Any]:
    """Return what a line of results depends on."""
    return {
        "net": net,
        "method": method,
        "rate": round(rate, 6),
        "seed": seed,
        "part": part,
        **BUDGET,
    }


def grid(method: str) -> list[float]:
    """Return the rates that are tried; those of AdamW are a hundred times smaller."""
    return [round(rate / 100, 6) if method == "AdamW" else rate for rate in RATES]


def choosing(runs: list[dict[str, Any]], method: str) -> dict[float, float]:
    """Return the accuracy on held-out images by rate; 0.1, that of guessing, if it diverged."""
    return {
        run["rate"]: run["accuracy"] or 0.1
        for run in runs
        if (run["method"], run["part"]) == (method, "held out")
    }


def on_grid(runs: list[dict[str, Any]], method: str) -> dict[float, float]:
    """Return the same for the rates of the grid only."""
    accuracies = choosing(runs, method)
    return {rate: accuracies[rate] for rate in grid(method) if rate in accuracies}


def best(accuracies: dict[float, float]) -> float:
    """Return the rate with the highest accuracy."""
    return max(accuracies, key=lambda rate: accuracies[rate])


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """A table a net, and the curves over the grid."""
    yield "## Optimizers\n\n`python -m benchmarks optimizers`"
    yield (
        f"ResNet-8 on Fashion-MNIST, {IMAGES:,} images, {EPOCHS} epochs, batches of 128; VCSG "
        "chooses its own and computes three gradients a sample, the others one. SGD, AdamW and "
        "ALI-G+ have a weight decay of 5e-4, the others none. One number a method, the learning "
        f"rate or its maximum, chosen with the first net on {HELD_OUT:,} held-out images; test "
        "accuracy in percent, mean ± standard deviation over seeds "
        f"{', '.join(map(str, SEEDS))}, and the difference in points to SGD with the schedule that "
        "is better on the held-out images."
    )
    runs = [run for run in runs if BUDGET.items() <= run.items()]
    held_out = {method: choosing(runs, method) for method in METHODS}
    for net in NETS:
        accuracies = {
            method: [
                100 * (run["accuracy"] or 0.1)
                for run in runs
                if (run["net"], run["method"], run["part"]) == (net, method, "test")
                and run["rate"] == best(of)
            ]
            for method, of in held_out.items()
            if of
        }
        means = {m: sum(of) / len(of) for m, of in accuracies.items() if of}
        if not means:
            continue
        scheduled = max(SCHEDULED, key=lambda method: max(held_out[method].values()))
        yield f"`resnet8`, {net}"
        yield markdown(
            ["method", "rate", "accuracy", "difference"],
            [
                [
                    method,
                    f"{best(held_out[method]):.3g}",
                    mean_and_spread(accuracies[method]),
                    f"{mean - means[scheduled]:+.2f}",
                ]
                for method, mean in means.items()
            ],
        )
    net = next(iter(NETS))
    over_rates = {
        method: {rate: 100 * accuracy for rate, accuracy in held_out[method].items()}
        for method in METHODS
    }
    title = f"accuracy of ResNet-8 of {net} on held-out images in %"
    figure = curves({m: of for m, of in over_rates.items() if of}, "rate or its maximum", title)
    PICTURE.write_bytes(png(figure))
    yield f"![Accuracy over the grid](images/{PICTURE.name})"
    rows = [
        [method, *(f"{100 * accuracy:.1f}" for accuracy in of.values())]
        for method in METHODS
        for of in [on_grid(runs, method)]
        if of
    ]
    yield f"{title[0].upper()}{title[1:]}, by the rate (of AdamW a hundredth):"
    yield markdown(["method", *(f"{rate:.2g}" for rate in RATES)], rows)
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[list[Key]]:
    """Yield what chooses the rates, each time from the lines so far; then every net with them."""
    records = Records("optimizers")
    first = next(iter(NETS))
    yield [key(first, m, rate, CHOOSING_SEED, "held out") for m in METHODS for rate in grid(m)]
    centres = {m: best(on_grid(records.find_all(BUDGET), m)) for m in METHODS}
    yield [
        key(first, m, rate * factor, CHOOSING_SEED, "held out")
        for m, rate in centres.items()
        for factor in AROUND
    ]
    chosen = {m: best(choosing(records.find_all(BUDGET), m)) for m in METHODS}
    for net in NETS:
        yield [key(net, m, rate, seed, "test") for m, rate in chosen.items() for seed in SEEDS]


EXPERIMENTS = (
    Experiment(
        name="optimizers",
        about="the optimizers of hwopt against tuned ones",
        chapter="training",
        keys=keys,
        run=run,
        section=section,
        alone=False,
    ),
)
