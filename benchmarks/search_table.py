"""All points of a restricted space, trained and measured once, so that searches can be repeated.

    python -m benchmarks search_table          # trainings
    python -m benchmarks search_table_prior    # then, on a machine that does nothing else
    python -m benchmarks search_table_latency  # and there, too

ResNet-8 on Fashion-MNIST, one thread: three widths for each of five groups of channels.
"""

from __future__ import annotations

import itertools
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, Subset

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.records import TRAINING_THREADS, Records, kept_graph
from hwopt import data, models, targets, train
from hwopt.allocation.allocate import Width
from hwopt.compiler.graph_latency import GraphLatency
from hwopt.passes import BATCH_SIZE, Context, parse
from hwopt.search.front import Point
from hwopt.search.prior import prior
from hwopt.search.space import Choices, Space

SHAPE = (1, 28, 28)
IMAGES, SEED = 10_000, 0
DENSE = {"epochs": 8, "learning_rate": 0.1}
TUNED = {"epochs": 1, "learning_rate": 0.05}
TRAINING: dict[str, Any] = {"augment": "flip", "threads": TRAINING_THREADS, "progress": False}
PASSES = "prune-channels{multiple=4,criterion=l2}"
GROUPS = ("0.conv1", "1.conv1", "1.conv2", "2.conv1", "2.conv2")
DIMENSIONS = {f"prune-channels.stages.{group}": (1.0, 0.5, 0.25) for group in GROUPS}
TOGETHER = 9
THREADS = 1
FOLDER = Path("runs") / "search_table"
BUDGET = {"images": IMAGES, "epochs": [DENSE["epochs"], TUNED["epochs"]]}


def images() -> Dataset[Any]:
    """Return what is trained on."""
    return Subset(data.load("fashion-mnist").train, range(IMAGES))


def fitted(graph: hwopt.Graph, options: dict[str, Any]) -> hwopt.Graph:
    """Return a graph with the weights of a training."""
    module = graph.to_torch()
    train.fit(module, images(), seed=SEED, **options, **TRAINING)
    return graph.with_weights_of(module)


def dense() -> hwopt.Graph:
    """Return the network that all points begin with."""

    def trained() -> hwopt.Graph:
        torch.manual_seed(SEED)
        model = models.create("resnet8", input_shape=SHAPE, num_classes=10)
        return fitted(hwopt.import_model(model, torch.zeros(1, *SHAPE)), DENSE)

    return kept_graph(FOLDER / f"dense-{IMAGES}-{DENSE['epochs']}", trained)


def space() -> Space:
    """Return the space."""
    return Space(tuple(parse(PASSES)), DIMENSIONS)


def points() -> list[Choices]:
    """Return all points, in order."""
    return list(space().points())


def trained(point: int, **_: Any) -> dict[str, Any]:
    """Train one point; return its accuracy on held-out images."""
    graph = hwopt.apply(dense(), space().text(points()[point]))
    tuned = fitted(graph, TUNED)
    held_out = data.load("fashion-mnist").validation
    return {"accuracy": train.evaluate(tuned.to_torch(), held_out).quality}


def latency() -> GraphLatency:
    """Return what measures."""
    return GraphLatency(targets.get("host", threads=THREADS), memory=FOLDER / "latencies.json")


def measured(part: int, **_: Any) -> dict[str, Any]:
    """Measure some points beside the dense network."""
    some = points()[part * TOGETHER : (part + 1) * TOGETHER]
    graphs = [hwopt.apply(dense(), space().text(point)) for point in some]
    return {"ratios": [one.ratio for one in latency().relative([dense(), *graphs])]}


def known_before(**_: Any) -> dict[str, Any]:
    """Return what every choice does by itself: what a search knows before its first trial."""
    base = dense()

    def batches() -> Any:
        return itertools.islice(data.batches(images(), BATCH_SIZE, seed=SEED), 20)

    context = Context(batches=batches)

    def apply(text: str) -> hwopt.Graph:
        return hwopt.apply(base, text, context)

    def loss(graph: hwopt.Graph) -> float:
        settled = hwopt.apply(graph, "reestimate-batch-norm{batches=10}", context)
        return train.evaluate(settled.to_torch(), Subset(images(), range(2_560))).loss

    def shares(graphs: Any) -> list[float]:
        return [one.ratio for one in latency().relative([base, *graphs])]

    found = prior(space(), apply, shares, loss)
    assert found.space == space()  # no choice of widths is refused
    return {"prior": {n: [[*astuple(w)] for w in widths] for n, widths in found.table.items()}}


def table() -> dict[tuple[Any, ...], Point]:
    """Return accuracy and share of the latency of every point that is known, by its values."""
    accuracies = {r["point"]: r["accuracy"] for r in Records("search_table").find_all(BUDGET)}
    ratios: dict[int, float] = {}
    for run in Records("search_table_latency").find_all(BUDGET):
        ratios |= {run["part"] * TOGETHER + i: ratio for i, ratio in enumerate(run["ratios"])}
    return {
        tuple(point.values()): Point(accuracies[number], ratios[number])
        for number, point in enumerate(points())
    }


def prior_table() -> dict[str, list[Width]]:
    """Return what is known before, as :func:`hwopt.search.prior.prior` returns it."""
    (run,) = Records("search_table_prior").find_all(BUDGET)[:1]
    return {name: [Width(*values) for values in ws] for name, ws in run["prior"].items()}


def keys(_: Namespace) -> Iterator[list[Key]]:
    """Yield all points, to be trained side by side."""
    yield [{"point": number, **BUDGET} for number in range(space().size)]


def prior_keys(_: Namespace) -> Iterator[Key]:
    """Yield the one run of all choices."""
    yield BUDGET


def latency_keys(_: Namespace) -> Iterator[Key]:
    """Yield the parts of the points that are measured together."""
    for part in range(-(-space().size // TOGETHER)):
        yield {"part": part, **BUDGET}


EXPERIMENTS = (
    Experiment(
        name="search_table",
        about="all points of a restricted space, trained once",
        chapter="prediction and search",
        keys=keys,
        run=trained,
        alone=False,
    ),
    Experiment(
        name="search_table_prior",
        about="what a search of that space knows before its first trial",
        chapter="prediction and search",
        keys=prior_keys,
        run=known_before,
    ),
    Experiment(
        name="search_table_latency",
        about="the latencies of all points of that space",
        chapter="prediction and search",
        keys=latency_keys,
        run=measured,
    ),
)
