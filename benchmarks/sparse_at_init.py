"""Weights pruned before training: SNIP against other criteria, on the LeNets.

    python -m benchmarks sparse_at_init

``snip``, ``random`` and ``magnitude`` (in each layer) prune the random weights and train what is
left, as long as the dense network is trained. ``trained-magnitude`` prunes the trained network and
trains it as long
again: twice the cost.
"""

from __future__ import annotations

import functools
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import hwopt
from benchmarks import lenets
from benchmarks.experiment import Experiment, Key
from benchmarks.records import mean_and_spread, measured_on
from hwopt import data, passes, train
from hwopt.report import markdown

SEEDS = (0, 1, 2)
RATIOS = (0.9, 0.95, 0.98)
METHODS = ("snip", "magnitude", "random", "trained-magnitude")


@functools.cache
def trained(net: str, images: str, seed: int) -> tuple[hwopt.Graph, float]:
    """Return the dense network after training, and its accuracy."""
    graph = hwopt.import_model(lenets.net(net, seed), lenets.load(images)[0][:1][0])
    return fit(graph, net, images, seed)


def fit(graph: hwopt.Graph, net: str, images: str, seed: int) -> tuple[hwopt.Graph, float]:
    """Train a graph; return it with its accuracy on the test set."""
    training, test = lenets.load(images)
    module = graph.to_torch()
    train.fit(module, training, **lenets.options(net, images, seed))
    accuracy = train.evaluate(module, test).quality
    assert accuracy is not None
    return graph.with_weights_of(module), accuracy


def run(net: str, images: str, method: str, ratio: float, seed: int) -> dict[str, Any]:
    """Prune and train; the dense network for a ratio of 0."""
    if method == "dense":
        return {"accuracy": trained(net, images, seed)[1]}
    training, _ = lenets.load(images)
    graph = hwopt.import_model(lenets.net(net, seed), training[:1][0])
    if method == "trained-magnitude":
        graph = trained(net, images, seed)[0]
    criterion = method.removeprefix("trained-")
    context = passes.Context(batches=lambda: data.batches(training, 100, seed=seed), seed=seed)
    # Random weights of small layers are larger than those of wide ones: ranked over all layers,
    # magnitude would empty the wide ones.
    scope = "layer" if method == "magnitude" else "global"
    text = f"prune-weights{{ratio={ratio},criterion={criterion},scope={scope}}}"
    pruned = hwopt.apply(graph, text, context)
    return {"accuracy": fit(pruned, net, images, seed)[1], "nonzeros": pruned.num_nonzeros()}


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Accuracy by net, data and sparsity."""
    yield "## Pruned before training: SNIP and others\n\n`python -m benchmarks sparse_at_init`"
    yield (
        "Test accuracy in percent, mean ± standard deviation over seeds; biases are not pruned. "
        "SNIP takes one batch of 100 images. `trained-magnitude` prunes the trained network and "
        "trains again, at twice the cost."
    )
    rows = []
    for images in lenets.DATA:
        for net in lenets.NETS:
            for method in ("dense", *METHODS):
                cells = [
                    summary([r for r in runs if key_of(r) == (net, images, method, ratio)])
                    for ratio in ((0.0,) if method == "dense" else RATIOS)
                ]
                rows.append([net, images, method, *cells, *[""] * (len(RATIOS) - len(cells))])
    yield markdown(["net", "data", "pruned by", *(f"{r:.0%}" for r in RATIOS)], rows)
    yield measured_on(runs)


def key_of(record: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a cell of the table is of."""
    return tuple(record[name] for name in ("net", "images", "method", "ratio"))


def summary(found: list[dict[str, Any]]) -> str:
    """Return mean and spread of the accuracies."""
    return mean_and_spread([100 * r["accuracy"] for r in found]) if found else "not measured"


def keys(_: Namespace) -> Iterator[list[Key]]:
    """Yield all trainings, to be run side by side."""
    variants = [("dense", 0.0), *((method, ratio) for method in METHODS for ratio in RATIOS)]
    yield [
        {"net": net, "images": images, "method": method, "ratio": ratio, "seed": seed}
        for images in reversed(lenets.DATA)
        for net in lenets.NETS
        for seed in SEEDS
        for method, ratio in variants
    ]


EXPERIMENTS = (
    Experiment(
        name="sparse_at_init",
        about="weights pruned before training: SNIP against other criteria",
        chapter="compression",
        keys=keys,
        run=run,
        section=section,
        alone=False,
    ),
)
