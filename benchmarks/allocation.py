"""Accuracy against measured latency for three ways to allocate channels, ResNet-8.

    python -m benchmarks allocation            # seeds 0, 1, 2

The dense networks are trained by the recipe of ``benchmarks.main_job``. Every method prunes to the
same shares of the dense latency, by the same scores, and is fine-tuned in the same way. So is the
dense network itself, to tell what pruning costs from what more training gives.
"""

from __future__ import annotations

import functools
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.main_job import RECIPE
from benchmarks.records import TRAINING_THREADS, Records, machine, mean_and_spread, measured_on
from hwopt import data, passes, targets, train
from hwopt.compiler.graph_latency import GraphLatency
from hwopt.files import read_json, write_json
from hwopt.job import Job, changed_recipe, load_recipe
from hwopt.report import markdown

SEEDS = (0, 1, 2)
SHARES = (0.45, 0.35, 0.6)
METHODS = ("budgeted", "greedy", "uniform")
#: Where it differs from the recipe's: see ``benchmarks.choose_fine_tuning``, which chose the decay.
FINE_TUNE = {"epochs": 12, "weight_decay": 1e-4}
FOLDER = Path("runs") / "allocation"


@functools.cache
def dense(seed: int) -> hwopt.Graph:
    """Return the network that is pruned, trained by the recipe if it is not there yet."""
    recipe = changed_recipe(load_recipe(RECIPE), seed=seed, threads=TRAINING_THREADS)
    graph, _ = Job(recipe, FOLDER / f"dense-{seed}", bars=False).trained()
    return graph


def one_thread() -> targets.Target:
    """Return this machine with one thread, which the budget is of."""
    return targets.get("host", threads=1)


def chosen(method: str, share: float, seed: int) -> tuple[hwopt.Graph, float]:
    """Return the network with the widths that a method chooses, not trained yet.

    And its latency as a share of the dense one's. Nothing else may run while it is measured.
    """
    folder = FOLDER / f"{method}-{share}-{seed}"
    record = folder / "latency.json"
    if not record.exists():
        base = dense(seed)
        graph = base if method == "dense" else pruned(base, method, share, seed)
        graph.save(folder)
        # Anew: what the allocation measured is the best of several attempts.
        dense_ms, chosen_ms = GraphLatency(one_thread())([base, graph])
        write_json(record, {"latency": chosen_ms / dense_ms})
    return hwopt.Graph.load(folder), read_json(record)["latency"]


def pruned(graph: hwopt.Graph, method: str, share: float, seed: int) -> hwopt.Graph:
    """Prune to a share of the measured latency."""
    images = data.load("fashion-mnist").train
    context = passes.Context(
        batches=functools.partial(data.batches, images, passes.BATCH_SIZE),
        latency=GraphLatency(one_thread(), memory=FOLDER / "latencies.json"),
        seed=seed,
    )
    result = hwopt.apply(graph, f"prune-to-latency{{share={share},method={method}}}", context)
    print(*(str(note) for _, note in context.notes), sep="\n", flush=True)
    return result


def run(method: str, share: float, seed: int, **_: Any) -> dict[str, Any]:
    """Fine-tune what a method chose."""
    base = dense(seed)
    graph, latency = chosen(method, share, seed)
    images = data.load("fashion-mnist")
    module = graph.to_torch()
    train.fit(module, images.train_full, seed=seed, **fine_tuning(FINE_TUNE))
    return {
        "dense_accuracy": train.evaluate(base.to_torch(), images.test).quality,
        "accuracy": train.evaluate(module, images.test).quality,
        "latency": latency,
        "macs": graph.macs() / base.macs(),
        "widths": {n: graph.parameter(n).shape[0] for n in passes.layers.weights(graph)},
    }


def fine_tuning(changes: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the recipe's fine-tuning, but for some, beside other trainings."""
    fine_tune = load_recipe(RECIPE).fine_tune
    assert fine_tune is not None
    return fine_tune.arguments() | {"threads": TRAINING_THREADS, "progress": False} | changes


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """The curve, and what the budgeted allocation reaches."""
    yield "## Allocation under a latency budget\n\n`python -m benchmarks allocation`"
    yield (
        "ResNet-8 on Fashion-MNIST, pruned to shares of the dense latency with one thread by the "
        f"same Taylor scores and fine-tuned for {FINE_TUNE['epochs']} epochs; mean over "
        "seeds, of the points lost also the standard deviation. Points are lost to the dense "
        "network before; a row `dense`, if measured, is what that gains by the same fine-tuning."
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


def keys(_: Namespace) -> Iterator[list[Key]]:
    """Yield all fine-tunings, to be run side by side; the latencies are measured before."""
    variants = [(method, share) for share in SHARES for method in METHODS]
    found = [
        {"method": method, "share": share, "seed": seed, **FINE_TUNE, **machine()}
        for method, share in [*variants, ("dense", 1.0)]
        for seed in SEEDS
    ]
    for key in found:
        if Records("allocation").find(key) is None:
            chosen(key["method"], key["share"], key["seed"])
    yield found


EXPERIMENTS = (
    Experiment(
        name="allocation",
        about="three ways to allocate channels: accuracy against latency",
        chapter="compression",
        keys=keys,
        run=run,
        section=section,
    ),
)
