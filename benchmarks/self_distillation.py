"""Self-distilled pruning against plain iterative pruning, ResNet-8 on a fifth of Fashion-MNIST.

    python -m benchmarks self_distillation

All start from the same trained network and prune by magnitude in the same rounds, with an epoch
after each; they differ in the objective only.
"""

from __future__ import annotations

import functools
from argparse import Namespace
from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any

import torch

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.fusion import TRAINING, images
from benchmarks.records import mean_and_spread, measured_on
from hwopt import models, train
from hwopt.report import markdown
from hwopt.train import Alignment, SelfDistillation, Term

SEEDS = (0, 1, 2)
RATIOS = (0.8, 0.9, 0.95)
OBJECTIVES = ("plain", "cross-correlation", "cosine", "kl", "mse", "aligned")
ROUNDS = 5


@functools.cache
def trained(seed: int) -> hwopt.Graph:
    """Return the network that all start from."""
    torch.manual_seed(seed)
    model = models.create("resnet8", input_shape=(1, 28, 28))
    graph = hwopt.import_model(model, torch.zeros(1, 1, 28, 28))
    module = graph.to_torch()
    train.fit(module, images()[0], epochs=8, learning_rate=0.1, seed=seed, **TRAINING)
    return graph.with_weights_of(module)


def terms(objective: str, base: hwopt.Graph, graph: hwopt.Graph) -> Sequence[Term]:
    """Return what an objective adds to the task's loss."""
    if objective == "plain":
        return []
    if objective == "aligned":
        return [Alignment(dict(graph.masks), dict(base.parameters), "cosine", 1.0)]
    share = 0.5 if objective in ("kl", "mse") else 0.2
    return [SelfDistillation(base.to_torch(), objective, share)]  # type: ignore[arg-type]


def run(objective: str, ratio: float, seed: int) -> dict[str, Any]:
    """Prune in rounds and return the accuracies before and after."""
    training, test = images()
    base = trained(seed)
    graph = train.fit_in_rounds(
        base,
        training,
        f"prune-weights{{ratio={ratio}}}",
        rounds=ROUNDS,
        growth="cubic",
        terms=functools.partial(terms, objective, base),
        epochs=1,
        learning_rate=0.05,
        seed=seed,
        **TRAINING,
    )
    return {
        "dense_accuracy": train.evaluate(base.to_torch(), test).quality,
        "accuracy": train.evaluate(graph.to_torch(), test).quality,
    }


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Accuracy by objective and sparsity."""
    yield "## Self-distilled pruning\n\n`python -m benchmarks self_distillation`"
    dense = [100 * record["dense_accuracy"] for record in runs]
    yield (
        f"ResNet-8 on 12,000 images of Fashion-MNIST ({mean(dense):.2f} % dense), pruned by "
        f"magnitude in {ROUNDS} rounds (cubic), an epoch after each. Test accuracy in percent, "
        "mean ± standard deviation over seeds."
    )
    rows = []
    for objective in OBJECTIVES:
        cells = []
        for ratio in RATIOS:
            found = [
                100 * record["accuracy"]
                for record in runs
                if (record["objective"], record["ratio"]) == (objective, ratio)
            ]
            cells.append(mean_and_spread(found) if found else "not measured")
        rows.append([objective, *cells])
    yield markdown(["objective", *(f"{ratio:.0%}" for ratio in RATIOS)], rows)
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[list[Key]]:
    """Yield all trainings, to be run side by side."""
    yield [
        {"objective": objective, "ratio": ratio, "seed": seed}
        for objective in OBJECTIVES
        for ratio in RATIOS
        for seed in SEEDS
    ]


EXPERIMENTS = (
    Experiment(
        name="self_distillation",
        about="self-distilled pruning against plain iterative pruning",
        chapter="compression",
        keys=keys,
        run=run,
        section=section,
        alone=False,
    ),
)
