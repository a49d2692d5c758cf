"""Loss and accuracy of a model on a data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from hwopt.data import batches
from hwopt.errors import HwoptError

Loss = Callable[[Tensor, Tensor], Tensor]
"""From outputs and targets of a batch to their mean loss, a scalar."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Mean loss and accuracy over ``samples``; accuracy is a fraction, None without classes."""

    loss: float
    accuracy: float | None
    samples: int


def evaluate(
    model: nn.Module,
    dataset: Dataset[Any],
    batch_size: int = 500,
    loss: Loss | None = None,
) -> Evaluation:
    """Evaluate ``model`` in evaluation mode; its own mode is restored afterwards.

    Args:
        model: maps a batch of inputs to one output, such as logits (N, classes).
        dataset: a map-style torch data set of inputs and targets.
        batch_size: samples a forward pass.
        loss: cross entropy if None.

    Raises:
        HwoptError: if the data set is empty or the model's output does not fit.

    >>> from hwopt import data, models
    >>> digits = data.load("digits")
    >>> result = evaluate(models.create("resnet8", input_shape=(1, 28, 28)), digits.test)
    >>> result.samples
    360
    """
    loss = loss or functional.cross_entropy
    was_training = model.training
    model.eval()
    total_loss, correct, samples, classified = 0.0, 0, 0, True
    try:
        with torch.no_grad():
            for inputs, targets in batches(dataset, batch_size):
                outputs = model(inputs)
                if not samples:
                    check_output(outputs, targets, loss)
                total_loss += loss(outputs, targets).item() * len(targets)
                hits = count_correct(outputs, targets)
                classified = hits is not None
                correct += hits or 0
                samples += len(targets)
    finally:
        model.train(was_training)
    if not samples:
        raise HwoptError("the data set to evaluate on is empty")
    return Evaluation(total_loss / samples, correct / samples if classified else None, samples)


def count_correct(outputs: Tensor, targets: Tensor) -> int | None:
    """Return how many outputs have their maximum at the target; None if targets are no classes."""
    if targets.is_floating_point() or outputs.dim() != targets.dim() + 1:
        return None
    return int((outputs.argmax(1) == targets).sum())


def check_output(outputs: object, targets: Tensor, loss: Loss) -> None:
    """Refuse an output that is no tensor, or has fewer classes than there are labels."""
    if not isinstance(outputs, Tensor):
        raise HwoptError(
            f"the model returns {type(outputs).__name__}, but one tensor (the logits) is needed"
        )
    if loss is functional.cross_entropy or getattr(loss, "func", None) is functional.cross_entropy:
        if outputs.dim() < 2 or targets.is_floating_point():
            raise HwoptError(
                f"outputs of shape {tuple(outputs.shape)} and targets of type {targets.dtype} are "
                "no classes: give a loss"
            )
        if int(targets.max()) >= outputs.shape[1]:
            raise HwoptError(
                f"the data has label {int(targets.max())}, but the model has only "
                f"{outputs.shape[1]} outputs: create it with more classes"
            )
