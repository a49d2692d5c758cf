"""What forms of distillation have in common: a fixed network whose features are compared."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hwopt.data import run_model
from hwopt.errors import HwoptError
from hwopt.train.readings import Place, Readings
from hwopt.train.terms import Term


class TeacherTerm(Term):
    """Base: (1 - share) * task loss + share * distance to a teacher.

    The teacher is the model as it is given: a fixed copy in eval mode. A subclass has ``distance``.

    Args:
        teacher: maps inputs to outputs as the student does; it is copied.
        places: whose tensors ``read`` returns.
        share: in [0, 1]; with 1 the labels count nothing.

    Raises:
        HwoptError: if the share is out of range.
    """

    def __init__(self, teacher: nn.Module, places: Sequence[Place], share: float) -> None:
        if not 0 <= share <= 1:
            raise HwoptError(f"the share of distillation must be in [0, 1], not {share}")
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self.places, self.share = tuple(places), share
        self._readings: list[Readings] = []

    def distance(self, outputs: Any, taught: Any) -> Tensor:
        """Return the distance, a scalar, given the outputs of student and teacher."""
        raise NotImplementedError

    def read(self, place: Place) -> tuple[Tensor, Tensor]:
        """Return what student and teacher read at a place in this step, as float32."""
        student, teacher = self._readings
        return student.of(place), teacher.of(place)

    def start(self, model: nn.Module, samples: int) -> None:
        """Listen to what the submodules read in both networks."""
        # The teacher is a copy of our own: if the model lacks a layer, nothing of it was changed.
        taught = Readings(self.teacher, self.places)
        self._readings = [Readings(model, self.places), taught]

    def loss(self, loss: Tensor, inputs: Any, outputs: Any, targets: Any) -> Tensor:
        """Return the loss with the distance to the teacher."""
        if self.share == 0:
            return loss
        with torch.no_grad():
            taught = run_model(self.teacher, self.task.feed(inputs))
        return (1 - self.share) * loss + self.share * self.distance(outputs, taught)

    def finish(self) -> None:
        """Stop listening."""
        for readings in self._readings:
            readings.stop()
