"""Accuracy against measured latency for three ways to allocate channels, ResNet-8.

    python -m benchmarks.allocation            # seeds 0, 1, 2

The dense networks are those of ``benchmarks.main_job``. Every method prunes to the same shares of
the dense latency, by the same scores, and is fine-tuned in the same way. So is the dense network
itself, to tell what pruning costs from what more training gives.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import hwopt
from benchmarks.main_job import RECIPE
from benchmarks.records import Records, mean_and_spread, measured_on
from hwopt import data, passes, targets, train
from hwopt.compiler.graph_latency import GraphLatency
from hwopt.optimize import Job, load_recipe, make_recipe
from hwopt.report import markdown

SEEDS = (0, 1, 2)
SHARES = (0.45, 0.6, 0.3)
METHODS = ("budgeted", "greedy", "uniform")
#: Where it differs from the recipe's.
FINE_TUNE = {"epochs": 16, "learning_rate": 0.2, "weight_decay": 1e-4}
FOLDER = Path("runs") / "allocation"


@functools.cache
def dense(seed: int) -> hwopt.Graph:
    """Return the network of the main job, trained if it is not there yet."""
    recipe = make_recipe({**load_recipe(RECIPE).model_dump(mode="json"), "seed": seed})
    graph, _ = Job(recipe, Path("runs") / f"main-job-{seed}", bars=False).trained()
    return graph


def pruned(graph: hwopt.Graph, method: str, share: float, seed: int) -> hwopt.Graph:
    """Return the network with the widths that the method chooses, not trained yet."""
    if method == "dense":
        return graph
    images = data.load("fashion-mnist").train
    context = passes.Context(
        batches=functools.partial(data.batches, images, passes.BATCH_SIZE),
        latency=GraphLatency(targets.get("host"), memory=FOLDER / "latencies.json"),
        seed=seed,
    )
    result = hwopt.apply(graph, f"prune-to-latency{{share={share},method={method}}}", context)
    print(*(str(note) for _, note in context.notes), sep="\n")
    return result


def run(method: str, share: float, seed: int) -> dict[str, Any]:
    """Prune, fine-tune and measure beside the dense network."""
    base = dense(seed)
    graph = pruned(base, method, share, seed)
    images = data.load("fashion-mnist")
    fine_tune = load_recipe(RECIPE).fine_tune
    assert fine_tune is not None
    arguments = fine_tune.arguments() | FINE_TUNE
    module = graph.to_torch()
    threads = targets.get("host").threads
    train.fit(module, images.train_full, seed=seed, threads=threads, progress=False, **arguments)
    graph = graph.with_weights_of(module)
    # Anew: what the allocation measured is the best of several attempts.
    dense_ms, pruned_ms = GraphLatency(targets.get("host"))([base, graph])
    return {
        "dense_accuracy": train.evaluate(base.to_torch(), images.test).accuracy,
        "accuracy": train.evaluate(module, images.test).accuracy,
        "latency": pruned_ms / dense_ms,
        "macs": graph.macs() / base.macs(),
        "widths": {n: graph.parameter(n).shape[0] for n in passes.layers.weights(graph)},
    }


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """The curve, and what the budgeted allocation reaches."""
    yield "## Allocation under a latency budget\n\n`python -m benchmarks.allocation`"
    yield (
        "ResNet-8 on Fashion-MNIST, pruned to shares of the dense latency by the same Taylor "
        f"scores and fine-tuned for {FINE_TUNE['epochs']} epochs; mean over seeds, of the points "
        "lost also the standard deviation. Points are lost to the dense network of the main job; "
        "the first row is what that gains by the same fine-tuning."
    )
    rows = []
    for method in ("dense", *METHODS):
        for share in (1.0, *sorted(SHARES, reverse=True)):
            found = [r for r in runs if (r["method"], r["share"]) == (method, share)]
            if not found:
                continue
            lost = [100 * (r["dense_accuracy"] - r["accuracy"]) for r in found]
            rows.append(
                [
                    method,
                    f"{share}",
                    f"{mean(r['latency'] for r in found):.2f}",
                    f"{mean(r['macs'] for r in found):.2f}",
                    f"{100 * mean(r['accuracy'] for r in found):.2f} %",
                    mean_and_spread(lost),
                    str(len(found)),
                ]
            )
    titles = ["method", "asked for", "latency of dense", "MACs of dense", "accuracy", "points lost"]
    yield markdown([*titles, "seeds"], rows)
    yield measured_on(runs)


def main() -> None:
    records = Records("allocation")
    choices = [(method, share) for share in SHARES for method in METHODS]
    for seed in SEEDS:
        for method, share in [*choices, ("dense", 1.0)]:
            key = {"method": method, "share": share, "seed": seed}
            records.run({**key, **FINE_TUNE}, functools.partial(run, **key))


if __name__ == "__main__":
    main()
