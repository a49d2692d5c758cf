"""What forms of distillation have in common: a fixed network whose features are compared."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hwopt.errors import HwoptError
from hwopt.train.terms import Term

Place = tuple[str, str]
"""A submodule of both networks and one of its arguments: what both read there is compared."""


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
        self._read: dict[str, dict[Place, Tensor]] = {"student": {}, "teacher": {}}
        self._hooks: list[Any] = []

    def distance(self, outputs: Tensor, taught: Tensor) -> Tensor:
        """Return the distance, a scalar, given the outputs of student and teacher."""
        raise NotImplementedError

    def read(self, place: Place) -> tuple[Tensor, Tensor]:
        """Return what student and teacher read at a place in this step, as float32."""
        return self._read["student"][place].float(), self._read["teacher"][place].float()

    def start(self, model: nn.Module, samples: int) -> None:
        """Listen to what the submodules read in both networks."""
        for name, network in (("student", model), ("teacher", self.teacher)):
            layers = dict(network.named_modules())
            missing = [layer for layer, _ in self.places if layer not in layers]
            if missing:
                raise HwoptError(f"the model has no layer {missing[0]!r} to distil at")
            for place in self.places:
                hook = layers[place[0]].register_forward_pre_hook(self._keep(name, place))
                self._hooks.append(hook)

    def loss(self, loss: Tensor, inputs: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss with the distance to the teacher."""
        if self.share == 0:
            return loss
        with torch.no_grad():
            taught = self.teacher(inputs)
        return (1 - self.share) * loss + self.share * self.distance(outputs, taught)

    def finish(self) -> None:
        """Stop listening."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        for read in self._read.values():
            read.clear()

    def _keep(self, network: str, place: Place) -> Callable[[nn.Module, Any], None]:
        def keep(layer: nn.Module, arguments: Any) -> None:
            given = arguments[0]
            # The operations of a graph take their tensors by name.
            self._read[network][place] = given[place[1]] if isinstance(given, dict) else given

        return keep
