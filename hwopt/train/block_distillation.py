"""Block-wise distillation: what was substituted learns to make what was there before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hwopt.errors import HwoptError
from hwopt.graph import Value
from hwopt.graph.types import Operands
from hwopt.train.readings import Place
from hwopt.train.teacher import TeacherTerm

if TYPE_CHECKING:
    from hwopt.graph import Graph


def substituted_places(student: Graph, teacher: Graph) -> list[Place]:
    """Return where nodes of both graphs read another value than before, of the same shape.

    Also where what they read is put together from others than before, as in dense stages.

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
        and (operand != before or _lists(student, operand) != _lists(teacher, before))
        and student.spec(operand) == teacher.spec(before)
    ]


def _lists(graph: Graph, value: Value) -> list[Operands]:
    """Return the lists of operands that a value is made of."""
    operands = graph.producer(value).operands.values()
    return [operand for operand in operands if isinstance(operand, tuple)]


class BlockDistillation(TeacherTerm):
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
        if not places:
            raise HwoptError(
                "there is no block to distil: no layer reads another value than before the passes, "
                "such as after substitute-global-layer"
            )
        super().__init__(teacher, places, share)

    def __str__(self) -> str:
        return f"block distillation {self.share} {' '.join(map('.'.join, self.places))}"

    def distance(self, outputs: Any, taught: Any) -> Tensor:
        """Return the mean over the places."""
        return torch.stack([_distance(*self.read(place)) for place in self.places]).mean()


def _distance(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).square().sum() / teacher.square().sum().clamp(min=1e-12)
