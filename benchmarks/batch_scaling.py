"""Steps to a result over batch sizes and sparsities, and the law that is fitted to them.

    python -m benchmarks batch_scaling
    python -m benchmarks batch_smoothness

Lee et al. 2021, in small: their network of two convolutions, pruned before training, with the
fewest steps of several trials of momentum SGD; and the Lipschitz constant along one training.
"""

from __future__ import annotations

import functools
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Subset

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.records import TRAINING_THREADS, Records, measured_on
from hwopt import data, passes
from hwopt.report import markdown
from hwopt.report.plots import curves, png
from hwopt.train.scaling import fit_scaling, lipschitz
from hwopt.train.steps_to_result import quasi_random, steps_to_result

BATCHES = (4, 8, 16, 32, 64, 128, 256, 512)
SPARSITIES = (0.0, 0.9)
GOAL = 0.16
#: Of points of the quasi-random sequence, in blocks: what is behind the best so far ends early.
BLOCK, TRIALS = 12, 24
#: Enough for the slowest; a trial ends when it can no longer be the best.
MOST_SAMPLES = 60_000
#: The error is looked at on so many images, every so many samples, but not before 4 steps.
HELD_OUT, EVERY = 500, 400
SMOOTHNESS_STEPS, SMOOTHNESS_EVERY = 200, 40
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "batch-scaling.png"


def network(sparsity: float, trial: int) -> nn.Module:
    """Return the network with the first weights of a trial, pruned by connection sensitivity."""
    torch.manual_seed(trial)
    layers = [nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5), nn.ReLU()]
    model = nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1024, 10))
    graph = hwopt.import_model(model, torch.zeros(1, 1, 28, 28))
    if sparsity:
        context = passes.Context(batches=functools.partial(_batches, trial))
        pruning = f"prune-weights{{ratio={sparsity},criterion=snip,scope=global}}"
        graph = hwopt.apply(graph, pruning, context)
    return graph.to_torch()


def _batches(seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    return data.batches(data.load("fashion-mnist").train, passes.BATCH_SIZE, seed=seed)


def run(batch_size: int, sparsity: float, first: int, **_: Any) -> dict[str, Any]:
    """Return the fewest steps of a block, fewer than those of the blocks before, and with what."""
    images = data.load("fashion-mnist")
    key = {"batch_size": batch_size, "sparsity": sparsity, "goal": GOAL}
    before = [one["steps"] - 1 for one in Records("batch_scaling").find_all(key) if one["steps"]]
    found = steps_to_result(
        lambda trial: network(sparsity, first + trial),
        images.train,
        Subset(images.validation, range(HELD_OUT)),
        batch_size=batch_size,
        goal=GOAL,
        most_steps=min([max(400, MOST_SAMPLES // batch_size), *before]),
        trials=quasi_random(TRIALS)[first : first + BLOCK],
        check_every=max(4, EVERY // batch_size),
        threads=TRAINING_THREADS,
    )
    best = None if found.best is None else [found.best.learning_rate, found.best.momentum]
    ends = [found.reached, found.incomplete, found.infeasible]
    return {"steps": found.steps, "best": best, "reached, incomplete, infeasible": ends}


def smoothness(sparsity: float, **_: Any) -> dict[str, Any]:
    """Return the estimates between neighbouring steps of one training."""
    images = data.load("fashion-mnist").train
    model, few = network(sparsity, 0), Subset(images, range(2000))
    torch.set_num_threads(TRAINING_THREADS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    found = []
    for step, (inputs, targets) in enumerate(data.batches(images, 64, seed=0)):
        if step == SMOOTHNESS_STEPS:
            break
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        if step % SMOOTHNESS_EVERY == 0:
            found.append(lipschitz(model, few, before, dict(model.named_parameters())))
    return {"lipschitz": found}


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """The steps, the fits and the picture."""
    yield "## Batch size under sparsity"
    yield "`python -m benchmarks batch_scaling`, then `batch_smoothness`"
    yield (
        f"Two convolutions and a linear layer on Fashion-MNIST, to a validation error of {GOAL} "
        f"({HELD_OUT} images): the fewest steps of SGD with quasi-random rate and momentum, and of "
        f"how many trials; the error is looked at every {EVERY} samples, or 4 steps. Sparse "
        "networks are pruned before training by connection sensitivity (`snip`)."
    )
    measured, laws, rows = {}, {}, []
    for sparsity in SPARSITIES:
        tried = [
            (run["batch_size"], run["steps"])
            for run in runs
            if (run["sparsity"], run["goal"]) == (sparsity, GOAL)
        ]
        trials = {batch: BLOCK * [its for its, _ in tried].count(batch) for batch in BATCHES}
        found = [(its, of) for its, of in tried if of]
        steps = {batch: min(of for its, of in found if its == batch) for batch, _ in sorted(found)}
        if len(steps) < 3:
            continue
        name = f"{100 * sparsity:.0f} % of the weights pruned"
        law = fit_scaling(steps)
        measured[name], laws[name] = steps, law.steps
        smooth = Records("batch_smoothness").find({"sparsity": sparsity})
        rows.append(
            [
                f"{100 * sparsity:.0f} %",
                *(f"{steps.get(batch, 'not reached')} ({trials[batch]})" for batch in BATCHES),
                f"{law.c1:.0f}",
                f"{law.c2:.1f}",
                f"{law.r_squared:.3f}",
                f"{law.diminishing_returns:.0f}",
                f"{median(smooth['lipschitz']):.1f}" if smooth else "",
            ]
        )
    titles = ["pruned", *(f"B = {batch}" for batch in BATCHES)]
    yield markdown([*titles, "c1", "c2", "R²", "c1 / c2", "Lipschitz"], rows)
    yield (
        "K = c1 / B + c2, fitted to relative errors; R² is of the logarithms. From c1 / c2 on most "
        "steps are those that no batch size saves. Lipschitz: the median of estimates along "
        f"{SMOOTHNESS_STEPS} steps of one training."
    )
    figure = curves(measured, "batch size", "steps to the goal", laws, logarithmic="xy")
    PICTURE.write_bytes(png(figure))
    yield f"![Steps to the goal by batch size](images/{PICTURE.name})"
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[list[Key]]:
    """Yield the blocks of trials one after the other, each with all batches and sparsities."""
    for first in range(0, TRIALS, BLOCK):
        yield [
            {"batch_size": batch, "sparsity": sparsity, "goal": GOAL, "first": first}
            for batch in BATCHES
            for sparsity in SPARSITIES
        ]


def smoothness_keys(_: Namespace) -> Iterator[list[Key]]:
    """Yield the training of each sparsity."""
    yield [{"sparsity": sparsity} for sparsity in SPARSITIES]


EXPERIMENTS = (
    Experiment(
        name="batch_scaling",
        about="steps to a result over batch sizes and sparsities",
        chapter="training",
        keys=keys,
        run=run,
        section=section,
        alone=False,
    ),
    Experiment(
        name="batch_smoothness",
        about="the Lipschitz constant along a training, for batch_scaling",
        chapter="training",
        keys=smoothness_keys,
        run=smoothness,
        alone=False,
    ),
)
