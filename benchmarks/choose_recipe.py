"""How the demo's training and pruning were chosen: on images held out from training.

    python -m benchmarks choose_recipe

Trainings see eleven twelfths of Fashion-MNIST's training images and are compared on the rest. The
best of them is pruned in several ways and fine-tuned; of what loses at most half a point and has at
most half of the MACs, the fastest is taken. One seed, 100, which no experiment that is reported on
test images uses.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.main_job import RECIPE
from benchmarks.records import Records, machine, measured_on
from hwopt import data, train
from hwopt.compiler import measure
from hwopt.job import load_recipe
from hwopt.models.source import load_graph
from hwopt.report import markdown

SEED = 100
TRAININGS: tuple[dict[str, Any], ...] = (
    {"learning_rate": 0.2, "label_smoothing": 0.1, "augment": "flip"},
    {"learning_rate": 0.1, "label_smoothing": 0.1, "augment": "flip"},
    {"learning_rate": 0.2, "label_smoothing": 0.1, "augment": None},
    {"learning_rate": 0.2, "label_smoothing": 0.0, "augment": "flip"},
)
PRUNINGS = (
    "prune-channels{ratio=0.3}",
    "prune-channels{ratio=0.5}",
    "prune-channels{ratio=0.5,layers=[stem,stages.0]},"
    "prune-channels{ratio=0.25,layers=[stages.1,stages.2]}",
    "prune-channels{ratio=0.5,layers=[stem,stages.0,stages.1]},"
    "prune-channels{ratio=0.25,layers=[stages.2]}",
)
MOST_LOST = 0.005
MOST_MACS = 0.5
FOLDER = Path("runs") / "choose-recipe"


def fit(graph: hwopt.Graph, arguments: dict[str, Any]) -> tuple[hwopt.Graph, float]:
    """Train a graph; return it and its accuracy on the held-out images."""
    images = data.load("fashion-mnist")
    module = graph.to_torch()
    arguments = {"threads": hwopt.targets.get("host").threads, **arguments}
    train.fit(module, images.train, seed=SEED, **arguments)
    accuracy = train.evaluate(module, images.validation).quality
    assert accuracy is not None
    return graph.with_weights_of(module), accuracy


def dense(options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train ResNet-8 from random weights and keep its graph in the folder."""
    shape = data.load("fashion-mnist").input_shape
    graph = load_graph("resnet8", input_shape=shape, num_classes=10, seed=SEED)
    training = load_recipe(RECIPE).train
    assert training is not None
    graph, accuracy = fit(graph, training.arguments() | options)
    graph.save(folder)
    return {"validation_accuracy": accuracy}


def pruned(passes: str, folder: Path) -> dict[str, Any]:
    """Prune and fine-tune the graph in the folder; measure it beside the dense one."""
    base = hwopt.Graph.load(folder)
    fine_tuning = load_recipe(RECIPE).fine_tune
    assert fine_tuning is not None
    graph, accuracy = fit(hwopt.apply(base, passes), fine_tuning.arguments())
    with tempfile.TemporaryDirectory() as temporary:
        calls = {}
        for name, variant in (("dense", base), ("pruned", graph)):
            artifact = hwopt.compile(variant, output=Path(temporary) / name)
            inputs = artifact.random_inputs(0)
            calls[name] = lambda artifact=artifact, inputs=inputs: artifact(*inputs)
        latency = measure(calls, threads=hwopt.targets.get("host").threads)
    return {
        "validation_accuracy": accuracy,
        "macs": graph.macs() / base.macs(),
        "latency": latency["pruned"].median_ms / latency["dense"].median_ms,
    }


def run(step: str, options: dict[str, Any], passes: str = "", **_: Any) -> dict[str, Any]:
    """Train by the options, or prune what was trained by them."""
    folder = folder_of(options)
    return dense(options, folder) if step == "train" else pruned(passes, folder)


def folder_of(options: dict[str, Any]) -> Path:
    """Return where the graph of a training is kept."""
    return FOLDER / "-".join(map(str, options.values()))


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """What the recipe was chosen among."""
    yield "## How the recipe was chosen\n\n`python -m benchmarks choose_recipe`"
    yield (
        "On 5,000 training images held out for it, with a seed that no other experiment uses. "
        "Pruned variants are fine-tuned from the best training; of those that lose at most 0.5 "
        "points and have at most half of the MACs, the fastest was taken."
    )
    rows = [
        [str(run["options"]).strip("{}").replace("'", ""), validation_accuracy(run)]
        for run in runs
        if run["step"] == "train"
    ]
    yield markdown(["training", "accuracy"], rows)
    rows = [
        [
            f"`{run['passes']}`",
            validation_accuracy(run),
            f"{run['macs']:.2f}",
            f"{run['latency']:.2f}",
        ]
        for run in runs
        if run["step"] == "prune"
    ]
    yield markdown(["pruned by", "accuracy", "MACs of dense", "latency of dense"], rows)
    yield measured_on(runs)


def validation_accuracy(run: dict[str, Any]) -> str:
    """Return the accuracy on the images held out."""
    return f"{100 * run['validation_accuracy']:.2f} %"


def keys(_: Namespace) -> Iterator[Key]:
    """Yield all trainings, then the best one of them pruned in every way."""
    training = load_recipe(RECIPE).train
    assert training is not None
    of_training = {"step": "train", "epochs": training.epochs}
    trainings = [{**of_training, "options": options, "seed": SEED} for options in TRAININGS]
    yield from trainings
    best = max(map(measured, trainings), key=lambda record: record["validation_accuracy"])
    accuracy, options = best["validation_accuracy"], best["options"]
    print(f"training: {options}, {accuracy:.2%}")
    if not folder_of(options).exists():
        dense(options, folder_of(options))
    prunings = [
        {"step": "prune", "passes": passes, "options": options, "seed": SEED} for passes in PRUNINGS
    ]
    yield from prunings
    print("pruning:", fastest(map(measured, prunings), accuracy))


def measured(key: Key) -> dict[str, Any]:
    """Return the line of a run on this machine, which is there."""
    record = Records("choose_recipe").find({**key, **machine()})
    assert record is not None
    return record


def fastest(records: Iterable[dict[str, Any]], accuracy: float) -> str:
    """Return the passes that make the fastest of what loses little enough and is small enough."""
    allowed = [
        (record["latency"], record["passes"])
        for record in records
        if record["validation_accuracy"] >= accuracy - MOST_LOST and record["macs"] <= MOST_MACS
    ]
    return min(allowed)[1] if allowed else "none of these is allowed"


EXPERIMENTS = (
    Experiment(
        name="choose_recipe",
        about="how the demo's training and pruning were chosen",
        chapter="the main job",
        keys=keys,
        run=run,
        section=section,
    ),
)
