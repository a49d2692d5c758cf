"""Scaffolded distillation (DiSK) beside plain distillation and training without a teacher.

    python -m benchmarks scaffolding

All students of a pair have the same first weights, images and epochs.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch.utils.data import Dataset, Subset

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.records import TRAINING_THREADS, kept_graph, mean_and_spread, measured_on
from hwopt import data, models, train
from hwopt.report import markdown
from hwopt.train.scaffolding import Scaffolding

SEEDS = (0, 1, 2)
SHAPE = (1, 28, 28)
IMAGES = 10_000
EPOCHS = {"teacher": 10, "student": 15}
#: By name: the zoo's names and options of the teacher and of its student.
PAIRS: dict[str, tuple[tuple[str, dict[str, Any]], tuple[str, dict[str, Any]]]] = {
    "resnet8 and resnet8 of width 4": (("resnet8", {}), ("resnet8", {"width": 4})),
    "resnet8 and ds_cnn": (("resnet8", {}), ("ds_cnn", {})),
}
METHODS = ("none", "distillation", "DiSK")
#: Measured with the code of the commit that its lines name; it cannot be run any more.
BEFORE = "DiSK as first written"
TRAINING: dict[str, Any] = {
    "learning_rate": 0.1,
    "label_smoothing": 0.0,
    "augment": "flip",
    "threads": TRAINING_THREADS,
    "progress": False,
}
BUDGET = {"images": IMAGES, "epochs": list(EPOCHS.values())}
FOLDER = Path("runs") / "scaffolding"


def images() -> Dataset[Any]:
    """Return what teachers and students are trained on."""
    return Subset(data.load("fashion-mnist").train, range(IMAGES))


def untrained(net: tuple[str, dict[str, Any]], seed: int) -> hwopt.Graph:
    """Return a network with its first weights."""
    name, options = net
    torch.manual_seed(seed)
    model = models.create(name, input_shape=SHAPE, num_classes=10, **options)
    return hwopt.import_model(model, torch.zeros(1, *SHAPE))


def teacher(pair: str, seed: int) -> hwopt.Graph:
    """Return the trained teacher of a pair."""
    name, options = net = PAIRS[pair][0]
    text = "-".join([name, *map(str, options.values())])

    def trained() -> hwopt.Graph:
        graph = untrained(net, 10 + seed)
        module = graph.to_torch()
        train.fit(module, images(), epochs=EPOCHS["teacher"], seed=10 + seed, **TRAINING)
        return graph.with_weights_of(module)

    return kept_graph(FOLDER / f"{text}-{IMAGES}-{EPOCHS['teacher']}-{seed}", trained)


def run(pair: str, method: str, seed: int, **_: Any) -> dict[str, Any]:
    """Train a student, and test it."""
    known = teacher(pair, seed).to_torch()
    student = untrained(PAIRS[pair][1], seed).to_torch()
    by_method: dict[str, list[train.Term]] = {
        "none": [],
        "distillation": [train.SelfDistillation(known, "kl", 0.9)],
        "DiSK": [Scaffolding(known, EPOCHS["student"])],
    }
    terms = by_method[method]
    train.fit(student, images(), epochs=EPOCHS["student"], seed=seed, terms=terms, **TRAINING)
    test = data.load("fashion-mnist").test
    return {
        "accuracy": train.evaluate(student, test).quality,
        "teacher": train.evaluate(known, test).quality,
    }


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """One line a pair."""
    yield "## Scaffolded distillation\n\n`python -m benchmarks scaffolding`"
    yield (
        f"Fashion-MNIST, {IMAGES:,} images; teachers {EPOCHS['teacher']} epochs, students "
        f"{EPOCHS['student']}, with the same first weights in a line. Plain distillation is "
        "`SelfDistillation` of form `kl`; both take nine tenths of the loss. Test accuracy in "
        f"percent, mean ± standard deviation over seeds {', '.join(map(str, SEEDS))}."
    )
    runs = [run for run in runs if BUDGET.items() <= run.items()]
    rows = []
    for pair in PAIRS:
        of_pair = [run for run in runs if run["pair"] == pair]
        if not of_pair:
            continue
        cells = [pair, f"{100 * mean(run['teacher'] for run in of_pair):.2f}"]
        for method in (*METHODS, BEFORE):
            found = [100 * run["accuracy"] for run in of_pair if run["method"] == method]
            cells.append(mean_and_spread(found) if found else "")
        rows.append(cells)
    yield markdown(["teacher and student", "teacher", "no teacher", *METHODS[1:], BEFORE], rows)
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[list[Key]]:
    """Yield all trainings, to be run side by side."""
    yield [
        {"pair": pair, "method": method, "seed": seed, **BUDGET}
        for pair in PAIRS
        for seed in SEEDS
        for method in METHODS
    ]


EXPERIMENTS = (
    Experiment(
        name="scaffolding",
        about="scaffolded distillation beside plain distillation",
        chapter="training",
        keys=keys,
        run=run,
        section=section,
        alone=False,
    ),
)
