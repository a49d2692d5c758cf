"""A small pruned ResNet-8, a wide one as its expert, and what routes between them."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, Subset

import hwopt
from benchmarks.records import TRAINING_THREADS, kept_graph
from hwopt import data, models, passes, train
from hwopt.passes.route import Route
from hwopt.routing.hybrid import fit_routed

SHAPE = (1, 28, 28)
#: The networks are trained on these, and the routers on the rest, which the networks never saw.
IMAGES = 40_000
PRUNING = "prune-channels{ratio=0.5}"
EXPERT_WIDTH = 48
TRAINING: dict[str, Any] = {"augment": "flip", "threads": TRAINING_THREADS, "progress": False}
SMALL: dict[str, Any] = {"epochs": 6, "learning_rate": 0.2}
SMALL_AFTER: dict[str, Any] = {"epochs": 4, "learning_rate": 0.1}
EXPERT: dict[str, Any] = {"epochs": 7, "learning_rate": 0.1, "bfloat16": True}
ROUTING: dict[str, Any] = {"epochs": 6, "learning_rate": 0.02}
ROUTERS = ("learned", "entropy", "doubt")
#: What a line of results depends on.
BUDGET = {
    "images": IMAGES,
    "epochs": [part["epochs"] for part in (SMALL, SMALL_AFTER, EXPERT, ROUTING)],
    "expert_width": EXPERT_WIDTH,
}
FOLDER = Path("runs") / "routing"


def of_networks() -> Dataset[Any]:
    """Return what the small network and the expert are trained on."""
    return Subset(data.load("fashion-mnist").train, range(IMAGES))


def of_routers() -> Dataset[Any]:
    """Return what is trained on afterwards."""
    images = data.load("fashion-mnist").train
    return Subset(images, range(IMAGES, len(images)))  # type: ignore[arg-type]


def untrained(width: int, seed: int) -> hwopt.Graph:
    """Return a ResNet-8 with its first weights."""
    torch.manual_seed(seed)
    model = models.create("resnet8", input_shape=SHAPE, num_classes=10, width=width)
    return hwopt.import_model(model, torch.zeros(1, *SHAPE))


def fitted(graph: hwopt.Graph, seed: int, options: dict[str, Any]) -> hwopt.Graph:
    """Return a graph with the weights of a training."""
    module = graph.to_torch()
    train.fit(module, of_networks(), seed=seed, **options, **TRAINING)
    return graph.with_weights_of(module)


def small(seed: int) -> hwopt.Graph:
    """Return the pruned network."""

    def trained() -> hwopt.Graph:
        dense = fitted(untrained(16, seed), seed, SMALL)
        context = passes.Context(
            batches=lambda: data.batches(of_networks(), passes.BATCH_SIZE, seed=seed)
        )
        pruned = hwopt.apply(dense, f"{PRUNING},reestimate-batch-norm", context)
        return fitted(pruned, seed, SMALL_AFTER)

    return kept_graph(FOLDER / f"small-{_named(PRUNING, SMALL, SMALL_AFTER)}-{seed}", trained)


def expert(seed: int) -> hwopt.Graph:
    """Return the wide network; its first weights are of another seed than the small one's."""
    folder = FOLDER / f"expert-{_named(EXPERT_WIDTH, EXPERT)}-{seed}"
    first = untrained(EXPERT_WIDTH, 10 + seed)
    return kept_graph(folder, lambda: fitted(first, 10 + seed, EXPERT))


def routed(router: str, seed: int) -> hwopt.Graph:
    """Return the two with a router, trained further alike on what neither was trained on."""

    def trained() -> hwopt.Graph:
        one = Route(router=router)  # type: ignore[arg-type]
        graph = one.joined(small(seed), expert(seed), passes.Context(seed=seed)).graph
        return fit_routed(graph, of_routers(), seed=seed, **ROUTING, **TRAINING)

    name = _named(PRUNING, SMALL, SMALL_AFTER, EXPERT_WIDTH, EXPERT, ROUTING)
    return kept_graph(FOLDER / f"{router}-{name}-{seed}", trained)


def _named(*depends_on: Any) -> str:
    """Return what stands for settings in the name of a folder."""
    return f"{zlib.crc32(repr([IMAGES, TRAINING, *depends_on]).encode()):08x}"
