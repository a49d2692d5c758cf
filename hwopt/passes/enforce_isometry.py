"""``enforce-isometry``: let what is left of every layer keep the length of signals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hwopt.errors import HwoptError
from hwopt.passes.base import Context, Note, Pass, PassResult
from hwopt.passes.layers import OUTPUT_AXIS, is_chosen, notes_on_unknown, weights

if TYPE_CHECKING:
    from hwopt.graph import Graph, Node


@dataclass(frozen=True)
class EnforceIsometry(Pass):
    """Make the weights that pruning left approximately orthogonal, without data.

    Pruning at initialisation breaks layerwise dynamical isometry: the singular values of the
    layers' Jacobians leave 1. This pass minimises, over the weights that masks leave, the sum over
    layers of ||W'W - I||, by gradient descent (Frobenius norm, not squared; W as a matrix of kernel
    x inputs by outputs; Lee et al. 2020, section 4). Biases stay. Use it after ``prune-weights``
    and before training.

    The step falls linearly to zero, where the authors keep it: the norm has a gradient of length
    one up to its minimum, so that a constant step ends in chatter.

    Options:
        steps: of gradient descent.
        learning_rate: the first step's length.
        layers: only layers whose name begins with one of these; all if empty. Grouped convolutions
            are left alone.

    Raises:
        HwoptError: if an option is out of range.

    >>> str(EnforceIsometry(steps=500))
    'enforce-isometry{steps=500}'
    """

    name = "enforce-isometry"

    steps: int = 1000
    learning_rate: float = 0.1
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("steps", "learning_rate"):
            if not getattr(self, option) > 0:
                raise HwoptError(
                    f"pass {self.name}: {option} must be positive, not {getattr(self, option)}"
                )

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with other values of the weights; masks stay."""
        result, done = graph.copy(), set()
        notes = notes_on_unknown(self.layers, weights(graph))
        for node in graph.nodes():
            weight = node.parameter("weight") if node.op in OUTPUT_AXIS else None
            if weight is None or weight in done or not is_chosen(weight, self.layers):
                continue
            done.add(weight)
            if node.attributes.get("groups", 1) != 1:
                notes.append(Note(weight, "its convolution is grouped", changed=False))
                continue
            notes.append(self._descend(result, node, weight))
        modified = any(note.changed for note in notes)
        return PassResult(result if modified else graph, modified, tuple(notes))

    def _descend(self, result: Graph, node: Node, name: str) -> Note:
        tensor = result.parameter(name)
        mask = result.masks.get(name, torch.ones_like(tensor, dtype=torch.bool))
        axis = OUTPUT_AXIS[node.op]
        before = _matrix(tensor, axis)
        weight = before.clone().requires_grad_()
        stays = _matrix(mask, axis)
        for step in range(self.steps):
            (gradient,) = torch.autograd.grad(departure(weight), weight)
            # At W'W = I exactly the norm has no gradient: there is nothing left to do.
            length = self.learning_rate * (1 - step / self.steps)
            with torch.no_grad():
                weight -= length * torch.where(stays, gradient.nan_to_num(), 0.0)
        after = weight.detach()
        result.set_parameter(name, _like(after, tensor, axis))
        message = (
            f"||W'W - I|| {departure(before):.3g} to {departure(after):.3g}, mean singular value "
            f"{_mean_singular_value(before):.3f} to {_mean_singular_value(after):.3f}"
        )
        return Note(name, message, changed=True)


def departure(weight: torch.Tensor) -> torch.Tensor:
    """Return ||W'W - I|| of a matrix (inputs, outputs), a scalar.

    With more outputs than inputs the least is sqrt(outputs - inputs), not 0.

    >>> departure(torch.eye(3, 2)).item()
    0.0
    """
    gram = weight.T @ weight
    return torch.linalg.matrix_norm(gram - torch.eye(len(gram)))


def _matrix(tensor: torch.Tensor, axis: int) -> torch.Tensor:
    return tensor.movedim(axis, -1).reshape(-1, tensor.shape[axis])


def _like(matrix: torch.Tensor, tensor: torch.Tensor, axis: int) -> torch.Tensor:
    return matrix.reshape(tensor.movedim(axis, -1).shape).movedim(-1, axis).contiguous()


def _mean_singular_value(matrix: torch.Tensor) -> float:
    return float(torch.linalg.svdvals(matrix).mean())
