"""The steps that a training takes to a goal, the fewest of many trials."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from hwopt import data
from hwopt.errors import HwoptError
from hwopt.train.cpu import set_threads
from hwopt.train.evaluation import evaluate
from hwopt.train.scaling import Metaparameters, quasi_random

ModelOf = Callable[[int], nn.Module]


@dataclass(frozen=True)
class StepsToResult:
    """The fewest steps of all trials.

    Attributes:
        steps: None if no trial reached the goal.
        best: the metaparameters of that trial.
        reached, incomplete, infeasible: how many trials reached the goal, did not in the steps they
            had, or diverged.
    """

    steps: int | None
    best: Metaparameters | None
    reached: int
    incomplete: int
    infeasible: int


def steps_to_result(
    model_of: ModelOf,
    training: Dataset[Any],
    validation: Dataset[Any],
    *,
    batch_size: int,
    goal: float,
    most_steps: int,
    trials: int | Sequence[Metaparameters] = 16,
    check_every: int = 100,
    threads: int | None = None,
) -> StepsToResult:
    """Train with many metaparameters until the validation error is at the goal; count the steps.

    Stochastic gradient descent with momentum and a constant rate, on cross entropy, without weight
    decay or augmentation (Lee et al. 2021, protocol). A trial ends when it can no longer be the
    best.

    Args:
        model_of: from the number of a trial, from 0 on, to its model with first weights and masks.
        training, validation: samples with labels.
        batch_size: samples a step.
        goal: error in [0, 1) on the whole validation set.
        most_steps: that a trial has.
        trials: how many points of ``quasi_random``, or the trials themselves.
        check_every: steps between two validations.
        threads: of torch, during the call; None leaves them as they are.

    Raises:
        HwoptError: if the batch is larger than the data set, or a number makes no training.

    >>> digits = data.load("digits")
    >>> found = steps_to_result(
    ...     lambda trial: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
    ...     digits.train,
    ...     digits.validation,
    ...     batch_size=32,
    ...     goal=0.5,
    ...     most_steps=200,
    ...     trials=[Metaparameters(learning_rate=0.1, momentum=0.9)],
    ...     check_every=10,
    ... )
    >>> found.reached, found.steps % 10
    (1, 0)
    """
    samples = len(training)  # type: ignore[arg-type]
    if not 0 < batch_size <= samples or not 0 <= goal < 1 or most_steps < 1 or check_every < 1:
        raise HwoptError(
            f"steps to a result: a batch must have 1 to {samples} samples, the goal be an error in "
            f"[0, 1), and there must be steps, not {batch_size}, {goal}, {most_steps} and "
            f"{check_every}"
        )
    points = quasi_random(trials) if isinstance(trials, int) else trials
    ends: list[float] = []
    fewest, best = most_steps + 1, None
    with set_threads(threads):
        for number, point in enumerate(points):
            # Only multiples of check_every are seen, and a tie is no improvement.
            batches = itertools.islice(_batches(training, batch_size, number), fewest - 1)
            end = _trial(model_of(number), point, batches, validation, goal, check_every)
            ends.append(end)
            if math.isfinite(end):
                fewest, best = int(end), point
    return StepsToResult(
        None if best is None else fewest,
        best,
        reached=sum(map(math.isfinite, ends)),
        incomplete=sum(map(math.isinf, ends)),
        infeasible=sum(map(math.isnan, ends)),
    )


def _trial(
    model: nn.Module,
    point: Metaparameters,
    batches: Iterator[tuple[Tensor, Tensor]],
    validation: Dataset[Any],
    goal: float,
    check_every: int,
) -> float:
    """Return the steps to the goal; infinity if there were too few, nan if the loss was none."""
    optimizer = torch.optim.SGD(model.parameters(), lr=point.learning_rate, momentum=point.momentum)
    for step, (inputs, targets) in enumerate(batches, 1):
        model.train()
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(inputs), targets)
        if not math.isfinite(loss.item()):
            return math.nan
        loss.backward()
        optimizer.step()
        if step % check_every == 0 and 1 - evaluate(model, validation).quality <= goal:
            return step
    return math.inf


def _batches(dataset: Dataset[Any], batch_size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches for ever, in a new order every epoch."""
    generator = torch.Generator().manual_seed(seed)
    samples = len(dataset)  # type: ignore[arg-type]
    while True:
        order = torch.randperm(samples, generator=generator)
        for indices in order.split(batch_size)[: samples // batch_size]:
            yield data.batch(dataset, indices)
