"""ALI-G: the step size from the loss itself."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from hwopt.errors import HwoptError
from hwopt.optim.base import LossOptimizer, squared_norm
from hwopt.optim.behaviour import Closure


class ALIG(LossOptimizer):
    """Adaptive learning rates for interpolation with gradients (Berrada et al. 2020).

    step size = min(loss / (|g|^2 + eps), max_lr), g the gradient of all parameters together: where
    the loss would be zero if it were linear, if that is near enough. No schedule is needed. The
    loss must be at least 0 and the model able to make it nearly 0 on every sample: no label
    smoothing, no penalties; ``max_norm`` stands in for weight decay.

    Args:
        params: parameters or groups; the largest step size may differ between groups.
        max_lr: the largest step size, the one number to tune; ``float("inf")`` for none.
        momentum: Nesterov's, in [0, 1).
        max_norm: radius of the ball in which all parameters together are kept.
        eps: added to the squared norm.

    Raises:
        HwoptError: if a number is out of range, or parameters are on different devices.

    >>> w = torch.nn.Parameter(torch.zeros(2))
    >>> optimizer = ALIG([w], max_lr=1.0, momentum=0.0, eps=0.0)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w @ torch.tensor([1.0, 2.0]) - 3) ** 2 / 2
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure).item(), w.detach()
    (4.5, tensor([0.3000, 0.6000]))
    """

    reaches_zero: ClassVar[bool] = True

    def __init__(
        self,
        params: Any,
        max_lr: float,
        momentum: float = 0.9,
        max_norm: float | None = None,
        eps: float = 1e-5,
    ) -> None:
        super().__init__(params, max_lr, momentum, max_norm)
        if not eps >= 0:
            raise HwoptError(f"{self}: eps must be at least 0, not {eps}")
        self.eps = eps

    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """Take a step and return the loss before it.

        Raises:
            HwoptError: if the loss is negative or no number.
        """
        loss = self._evaluate(closure)
        value = float(loss)
        trained = [(group, *self._trained(group)) for group in self.param_groups]
        norm = squared_norm(gradient for *_, gradients in trained for gradient in gradients)
        bound = norm + self.eps
        # Without gradients there is no step, of whatever size.
        size = value / bound if bound else 0.0
        for group, parameters, gradients in trained:
            if not parameters:
                continue
            steps = torch._foreach_mul(gradients, -min(size, group["lr"]))
            self._move(group, steps, parameters)
        self._project()
        return loss
