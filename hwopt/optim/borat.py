"""BORAT: a step from several linear pieces of the loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from hwopt.errors import HwoptError
from hwopt.optim import bundle
from hwopt.optim.base import LossOptimizer
from hwopt.optim.behaviour import Closure


class BORAT(LossOptimizer):
    """Bundle optimizer for robust and accurate training (Paren et al. 2022).

    Of ``pieces - 1`` mini-batches each gives a linear piece of the loss, at points that the pieces
    before lead to; zero, the lower bound, is the last piece. Then the largest of all pieces plus
    |w - w0|^2 / (2 max_lr) is minimised exactly: one update every ``pieces - 1`` steps. With two
    pieces it is :class:`ALIG` without its ``eps``. Between updates the parameters are at auxiliary
    points: evaluate after an update, as at the end of an epoch with so many mini-batches.

    Args:
        params: parameters or groups; the step size may differ between groups.
        max_lr: the largest step size, finite.
        pieces: 2 to 5; 3 and 5 in the paper.
        momentum: Nesterov's, in [0, 1).
        max_norm: radius of the ball in which all parameters together are kept.

    Raises:
        HwoptError: if a number is out of range, or parameters are on different devices.

    >>> w = torch.nn.Parameter(torch.zeros(2))
    >>> optimizer = BORAT([w], max_lr=0.5, pieces=3, momentum=0.0)
    >>> for x, y in (((1.0, 2.0), 3.0), ((2.0, -1.0), 0.5)):
    ...     def closure():
    ...         optimizer.zero_grad()
    ...         loss = (w @ torch.tensor(x) - y) ** 2 / 2
    ...         loss.backward()
    ...         return loss
    ...     _ = optimizer.step(closure)
    >>> w.detach()
    tensor([0.4000, 0.5500])
    """

    reaches_zero: ClassVar[bool] = True

    def __init__(
        self,
        params: Any,
        max_lr: float,
        pieces: int = 3,
        momentum: float = 0.9,
        max_norm: float | None = None,
    ) -> None:
        if not 2 <= pieces <= 5:
            raise HwoptError(f"BORAT: pieces must be 2 to 5, not {pieces}")
        super().__init__(params, max_lr, momentum, max_norm, offsets=[], gram=[])
        if not all(np.isfinite(group["lr"]) for group in self.param_groups):
            raise HwoptError("BORAT: max_lr must be finite")
        self.pieces = pieces

    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """Add a piece, move to the next point and return the loss before it.

        Raises:
            HwoptError: if the loss is negative or no number.
        """
        loss = self._evaluate(closure)
        with torch.no_grad():
            self._add_piece(float(loss))
            weights = self._weights()
            is_full = len(self._offsets) == self.pieces - 1
            for group in self.param_groups:
                self._go(group, weights, is_full)
            if is_full:
                self._offsets.clear()
                self._gram.clear()
                self._project()
        return loss

    @property
    def steps_per_update(self) -> int:
        """Mini-batches between updates."""
        return self.pieces - 1

    # The bundle is part of the first group, and so of the state that is saved.

    @property
    def _offsets(self) -> list[float]:
        """The values of the pieces at the centre."""
        return self.param_groups[0]["offsets"]

    @property
    def _gram(self) -> list[list[float]]:
        """The rows of the Gram matrix, each up to its diagonal."""
        return self.param_groups[0]["gram"]

    def _add_piece(self, value: float) -> None:
        """Put the gradients at this point into the bundle."""
        before = self._weights() if self._offsets else np.zeros(1)
        row = [0.0] * (len(self._offsets) + 1)
        for group in self.param_groups:
            if not self._offsets:
                group["rate"] = group["lr"]  # of the whole bundle, whatever a schedule does
                for parameter in self._trained(group)[0]:
                    self.state[parameter].update(center=parameter.clone(), pieces=[])
            for parameter in self._in_bundle(group):
                given = parameter.grad
                gradient = torch.zeros_like(parameter) if given is None else given.clone()
                self.state[parameter]["pieces"].append(gradient)
            pieces = [self.state[parameter]["pieces"] for parameter in self._in_bundle(group)]
            for number in range(len(row)):
                row[number] += group["rate"] * _inner((own[-1], own[number]) for own in pieces)
        self._gram.append(row)
        # g_n (u_n - w0), the point u_n being the centre minus what the pieces before add up to.
        self._offsets.append(value + float(np.dot(row[:-1], before[: len(row) - 1])))

    def _in_bundle(self, group: dict[str, Any]) -> list[Tensor]:
        """Return the parameters that the bundle began with."""
        return [p for p in group["params"] if "pieces" in self.state[p]]

    def _weights(self) -> bundle.Array:
        """Return the weights of the pieces so far, the lower bound last."""
        size = len(self._offsets) + 1
        gram = np.zeros((size, size))
        for number, row in enumerate(self._gram):
            gram[number, : len(row)] = gram[: len(row), number] = row
        return bundle.solve(gram, np.array([*self._offsets, 0.0]))

    def _go(self, group: dict[str, Any], weights: bundle.Array, is_full: bool) -> None:
        """Go to the centre minus the weighted gradients; with momentum if it is an update."""
        parameters = self._in_bundle(group)
        if not parameters:
            return
        states = [self.state[parameter] for parameter in parameters]
        steps = [torch.zeros_like(parameter) for parameter in parameters]
        for number in range(len(self._offsets)):
            gradients = [state["pieces"][number] for state in states]
            torch._foreach_add_(steps, gradients, alpha=-group["rate"] * float(weights[number]))
        torch._foreach_copy_(parameters, [state["center"] for state in states])
        if is_full:
            self._move(group, steps, parameters)
            for state in states:
                del state["center"], state["pieces"]
        else:
            torch._foreach_add_(parameters, steps)


def _inner(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the inner product of two vectors, given in parts."""
    return float(sum(torch.vdot(_vector(first), _vector(second)) for first, second in pairs))


def _vector(tensor: Tensor) -> Tensor:
    """Return the elements in the order in which they lie in memory, so that none is copied."""
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.flatten()
