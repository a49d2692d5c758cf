"""Training into a latency budget against pruning to it before the same training, ResNet-8.

    python -m benchmarks latency_budget      # on a machine that does nothing else

Both begin at the same trained network, with the same epochs, and both end by what is measured.
"""

from __future__ import annotations

import functools
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch.utils.data import Subset

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.records import kept_graph, mean_and_spread, measured_on
from hwopt import data, models, passes, targets, train
from hwopt.allocation.latency_budget import MARGIN, LatencyBudget
from hwopt.compiler.graph_latency import GraphLatency
from hwopt.report import markdown

SEEDS = (0, 1, 2)
SHARES = (0.7, 0.5, 0.35)
METHODS = ("in the loop", "before")
IMAGES = 20_000
SHAPE = (1, 28, 28)
TRAINING: dict[str, Any] = {"augment": "flip", "label_smoothing": 0.0, "progress": False}
DENSE = {"epochs": 8, "learning_rate": 0.2}
SECOND = {"epochs": 12, "learning_rate": 0.1, "weight_decay": 1e-4}
BUDGET = {"images": IMAGES, "epochs": [DENSE["epochs"], SECOND["epochs"]]}
FOLDER = Path("runs") / "latency-budget"


def images() -> Subset[Any]:
    """Return what is trained on."""
    return Subset(data.load("fashion-mnist").train, range(IMAGES))


def dense(seed: int) -> hwopt.Graph:
    """Return the trained network that both begin at."""

    def trained() -> hwopt.Graph:
        torch.manual_seed(seed)
        model = models.create("resnet8", input_shape=SHAPE, num_classes=10)
        graph = hwopt.import_model(model, torch.zeros(1, *SHAPE))
        return fitted(graph, seed, DENSE)

    return kept_graph(FOLDER / f"dense-{IMAGES}-{DENSE['epochs']}-{seed}", trained)


def fitted(graph: hwopt.Graph, seed: int, options: dict[str, Any], **more: Any) -> hwopt.Graph:
    """Return the graph with the weights of a training."""
    module = graph.to_torch()
    threads = targets.get("host").threads
    train.fit(module, images(), seed=seed, threads=threads, **options, **TRAINING, **more)
    return graph.with_weights_of(module)


def latency() -> GraphLatency:
    """Return what measures graphs with one thread, which the budget is of."""
    target = targets.get("host", threads=1)
    return GraphLatency(target, memory=FOLDER / "latencies.json")


def run(method: str, share: float, seed: int, **_: Any) -> dict[str, Any]:
    """Reach the share by a method, and measure the result anew."""
    graph = dense(seed)
    if method == "before":
        context = passes.Context(
            batches=functools.partial(data.batches, images(), passes.BATCH_SIZE, seed=seed),
            latency=latency(),
            seed=seed,
        )
        small = hwopt.apply(graph, f"prune-to-latency{{share={MARGIN * share}}}", context)
        small = fitted(small, seed, SECOND)
        more: dict[str, Any] = {}
    else:
        term = LatencyBudget(graph, latency(), int(SECOND["epochs"]), share=share)
        trained = fitted(graph, seed, SECOND, terms=[term])
        small = hwopt.apply(trained, "condense")
        more = {"multiplier": term.multiplier, "seen": term.measured_ms / term.dense_ms}
    # Anew: what the method measured is the best of several attempts.
    dense_ms, small_ms = GraphLatency(targets.get("host", threads=1))([graph, small])
    test = data.load("fashion-mnist").test
    return {
        "dense_accuracy": train.evaluate(graph.to_torch(), test).quality,
        "accuracy": train.evaluate(small.to_torch(), test).quality,
        "latency": small_ms / dense_ms,
        "macs": small.macs() / graph.macs(),
        **more,
    }


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Accuracy and latency by method and budget."""
    yield "## Training into a latency budget\n\n`python -m benchmarks latency_budget`"
    yield (
        f"ResNet-8, {IMAGES:,} images of Fashion-MNIST, {DENSE['epochs']} epochs dense, then "
        f"{SECOND['epochs']} epochs: *in the loop*, losing channels until the budget is met "
        f"(`LatencyBudget`), or pruned *before* by `prune-to-latency`; both aim at {MARGIN} of the "
        "budget. One thread; latency is measured anew at the end, side by side with the dense "
        "network, as a share of its own. Mean ± standard deviation over seeds."
    )
    runs = [run for run in runs if all(run[key] == value for key, value in BUDGET.items())]
    rows = []
    for share in SHARES:
        for method in METHODS:
            found = [run for run in runs if (run["method"], run["share"]) == (method, share)]
            if not found:
                continue
            inside = sum(run["latency"] <= share for run in found)
            rows.append(
                [
                    f"{share}",
                    method,
                    mean_and_spread([100 * run["accuracy"] for run in found]),
                    ", ".join(f"{run['latency']:.3f}" for run in found),
                    f"{inside} of {len(found)}",
                    f"{mean(run['macs'] for run in found):.2f}",
                ]
            )
    yield markdown(["budget", "method", "accuracy", "latency", "inside", "MACs"], rows)
    accuracies = {run["seed"]: 100 * run["dense_accuracy"] for run in runs}
    yield f"The dense network before: {mean_and_spread(list(accuracies.values()))} %."
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[Key]:
    """Yield both methods for every budget, seed by seed."""
    for seed in SEEDS:
        for share in SHARES:
            for method in METHODS:
                yield {"method": method, "share": share, "seed": seed} | BUDGET


EXPERIMENTS = (
    Experiment(
        name="latency_budget",
        about="training into a latency budget against pruning to it before",
        chapter="training",
        keys=keys,
        run=run,
        section=section,
    ),
)
