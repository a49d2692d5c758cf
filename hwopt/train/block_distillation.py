"""Block-wise distillation: what was substituted learns to make what was there before."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hwopt.errors import HwoptError
from hwopt.graph import Value
from hwopt.train.terms import Term

if TYPE_CHECKING:
    from hwopt.graph import Graph

Place = tuple[str, str]
"""A node of both networks and one of its arguments: what both read there is compared."""


def substituted_places(student: Graph, teacher: Graph) -> list[Place]:
    """Return where nodes of both graphs read another value than before, of the same shape.

    Args:
        student: the graph after passes that substitute parts.
        teacher: the graph before them.
    """
    return [
        (node.name, role)
        for node in student.nodes()
        if node.name in teacher
        for role, operand in node.operands.items()
        if isinstance(operand, Value)
        and isinstance(before := teacher.node(node.name).operands.get(role), Value)
        and operand != before
        and student.spec(operand) == teacher.spec(before)
    ]


class BlockDistillation(Term):
    """Minimise (1 - share) * task loss + share * mean distance to the original's features.

    The distance at a place is |s - t|^2 / |t|^2 over the batch, s what the student reads there and
    t what the teacher does. The teacher is a fixed copy in eval mode.

    Args:
        teacher: a graph's module, the network before the substitution; it is copied.
        places: such as :func:`substituted_places` returns.
        share: in [0, 1]; with 1 the labels count nothing.

    Raises:
        HwoptError: if the share is out of range, or there is nothing to compare.

    >>> import hwopt
    >>> model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    >>> teacher = hwopt.import_model(model, torch.zeros(1, 4)).to_torch()
    >>> str(BlockDistillation(teacher, [("1", "input")], share=0.9))
    'block distillation 0.9 1.input'
    """

    def __init__(self, teacher: nn.Module, places: Sequence[Place], share: float = 0.5) -> None:
        if not 0 <= share <= 1:
            raise HwoptError(f"the share of distillation must be in [0, 1], not {share}")
        if not places:
            raise HwoptError(
                "there is no block to distil: no layer reads another value than before the passes, "
                "such as after substitute-global-layer"
            )
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self.places, self.share = tuple(places), share
        self._read: dict[str, dict[Place, Tensor]] = {"student": {}, "teacher": {}}
        self._hooks: list[Any] = []

    def __str__(self) -> str:
        return f"block distillation {self.share} {' '.join(map('.'.join, self.places))}"

    def start(self, model: nn.Module, samples: int) -> None:
        """Listen to what the nodes read in both networks."""
        for name, network in (("student", model), ("teacher", self.teacher)):
            for node, role in self.places:
                try:
                    layer = network.get_submodule(node)
                except AttributeError:
                    raise HwoptError(f"the model has no node {node!r} to distil at") from None
                self._hooks.append(layer.register_forward_pre_hook(self._keep(name, node, role)))

    def loss(self, loss: Tensor, inputs: Tensor, outputs: Tensor) -> Tensor:
        """Return the loss with the distances to the teacher."""
        with torch.no_grad():
            self.teacher(inputs)
        student, teacher = self._read["student"], self._read["teacher"]
        distances = [_distance(student[place], teacher[place]) for place in self.places]
        return (1 - self.share) * loss + self.share * torch.stack(distances).mean()

    def finish(self) -> None:
        """Stop listening."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        for read in self._read.values():
            read.clear()

    def _keep(self, network: str, node: str, role: str) -> Callable[[nn.Module, Any], None]:
        def keep(layer: nn.Module, arguments: Any) -> None:
            self._read[network][node, role] = arguments[0][role]

        return keep


def _distance(student: Tensor, teacher: Tensor) -> Tensor:
    student, teacher = student.float(), teacher.float()
    return (student - teacher).square().sum() / teacher.square().sum().clamp(min=1e-12)
