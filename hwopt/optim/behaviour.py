"""What an optimizer asks of those who train with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

Closure = Callable[[], Tensor]
"""Clears the gradients, computes the loss and its gradients, and returns the loss."""


@dataclass(frozen=True)
class TrainingFacts:
    """What an optimizer may know of the training that it is for.

    Attributes:
        model: that is trained.
        learning_rate: the highest one of the schedule.
        weight_decay: of the training.
        samples: of the training set.
        epochs: of the training.
    """

    model: nn.Module
    learning_rate: float
    weight_decay: float
    samples: int
    epochs: int


class Behaviour:
    """Base of optimizers that ask for more than a closure at every step; mixed into torch's.

    An optimizer without it is one that asks for nothing.

    Class attributes:
        per_sample_loss: a step takes the indices of its samples, too, and its closure returns the
            loss of each of them: there must be one of every sample, the cross entropy.
        reaches_zero: the loss must be one that can become 0: no label smoothing, and nothing that
            changes it.
        steps_from_loss: the size of a step comes from the value of the loss.
        chooses_rate: it sets its learning rate itself: no schedule, and nothing besides that
            changes weights.
        in_one_process: it keeps something of every sample, or chooses the size of its batches.
    """

    per_sample_loss: ClassVar[bool] = False
    reaches_zero: ClassVar[bool] = False
    steps_from_loss: ClassVar[bool] = False
    chooses_rate: ClassVar[bool] = False
    in_one_process: ClassVar[bool] = False

    @classmethod
    def training_arguments(cls, training: TrainingFacts) -> Mapping[str, Any]:
        """Return the arguments that a training gives beside the parameters, the rate first."""
        return {"lr": training.learning_rate}

    @property
    def steps_per_update(self) -> int:
        """Calls of ``step`` that change the weights for good; between them they are elsewhere."""
        return 1

    def batches(self, size: int, steps: int) -> tuple[int, int]:
        """Return how many samples a step takes, and how many steps an epoch has.

        Args:
            size: of the batches that are asked for.
            steps: that an epoch has with these.
        """
        return size, steps - steps % self.steps_per_update  # an epoch ends with an update

    def start_epoch(self, closures: Iterable[Closure]) -> None:
        """Do what comes before the steps of an epoch.

        Args:
            closures: of the mini-batches of the epoch; they are drawn as they are taken.
        """

    def end_epoch(self) -> None:
        """Do what comes after the steps of an epoch."""


_NOTHING = Behaviour()


def behaviour(optimizer: Optimizer) -> Behaviour:
    """Return what an optimizer asks for: itself, or nothing.

    >>> import torch
    >>> behaviour(torch.optim.SGD([torch.zeros(1)], lr=0.1)).batches(32, 10)
    (32, 10)
    """
    return optimizer if isinstance(optimizer, Behaviour) else _NOTHING
