"""What the optimizers here have in common: a step from losses, momentum, a ball of weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from hwopt.errors import HwoptError
from hwopt.optim.behaviour import Behaviour, Closure, TrainingFacts


class LossOptimizer(Behaviour, Optimizer):
    """Base of optimizers whose steps depend on the value of the loss.

    The rate of a parameter group is its ``lr``, so that schedules of learning rates work, though
    none is needed.

    Args:
        params: parameters, or groups of them, which may have ``lr`` and ``momentum`` of their own.
        max_lr: the largest step size.
        momentum: in [0, 1).
        max_norm: radius of the ball in which all parameters together are kept; None for no ball.
        more: defaults of groups besides.

    Raises:
        HwoptError: if a number is out of range, or parameters are on different devices.
    """

    steps_from_loss: ClassVar[bool] = True

    def __init__(
        self,
        params: Any,
        max_lr: float,
        momentum: float,
        max_norm: float | None,
        **more: Any,
    ) -> None:
        super().__init__(params, {"lr": max_lr, "momentum": momentum, **more})
        for group in self.param_groups:
            if not group["lr"] > 0:
                raise HwoptError(f"{self}: max_lr must be positive, not {group['lr']}")
            if not 0 <= group["momentum"] < 1:
                raise HwoptError(f"{self}: momentum must be in [0, 1), not {group['momentum']}")
        if max_norm is not None and not max_norm > 0:
            raise HwoptError(f"{self}: max_norm must be positive, not {max_norm}")
        devices = {p.device for group in self.param_groups for p in group["params"]}
        if len(devices) > 1:
            names = ", ".join(sorted(map(str, devices)))
            raise HwoptError(f"{self}: the parameters are on {names}: move them to one device")
        self.max_norm = max_norm
        self._project()

    def __str__(self) -> str:
        return type(self).__name__

    @classmethod
    def training_arguments(cls, training: TrainingFacts) -> Mapping[str, Any]:
        """Return the largest step size; see :class:`hwopt.optim.behaviour.Behaviour`."""
        return {"max_lr": training.learning_rate}

    def _evaluate(self, closure: Closure | None) -> Tensor:
        """Return what the closure does: a loss, or one of every sample."""
        if closure is None:
            raise HwoptError(f"{self}: a step needs a closure that returns the loss")
        with torch.enable_grad():
            loss = closure().detach()
        lowest, highest = float(loss.min()), float(loss.max())
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            raise HwoptError(f"{self}: the loss became {highest}: lower max_lr")
        if lowest < 0:
            raise HwoptError(
                f"{self}: the loss is {lowest}, but must be at least 0, its lower bound: leave out "
                "what makes it negative"
            )
        return loss

    def _trained(self, group: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the parameters of a group that have gradients, and these."""
        parameters = [p for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in parameters]
        if any(gradient.is_sparse for gradient in gradients):
            raise HwoptError(f"{self}: sparse gradients are not supported")
        return parameters, gradients

    @torch.no_grad()
    def _move(
        self,
        group: dict[str, Any],
        steps: list[Tensor] | tuple[Tensor, ...],
        parameters: list[Tensor],
    ) -> None:
        """Add steps, and momentum times the velocity, to parameters.

        v <- momentum v + step; w <- w + step + momentum v: Nesterov's momentum. The velocity holds
        steps that have their sizes already.
        """
        torch._foreach_add_(parameters, steps)
        if not group["momentum"]:
            return
        for parameter in parameters:
            state = self.state[parameter]
            if "velocity" not in state:
                state["velocity"] = torch.zeros_like(parameter)
        velocities = [self.state[parameter]["velocity"] for parameter in parameters]
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, steps)
        torch._foreach_add_(parameters, velocities, alpha=group["momentum"])

    @torch.no_grad()
    def _project(self) -> None:
        """Scale all parameters into the ball."""
        if self.max_norm is None:
            return
        parameters = [p for group in self.param_groups for p in group["params"]]
        norm = float(get_total_norm(parameters))
        if norm > self.max_norm:
            torch._foreach_mul_(parameters, self.max_norm / norm)


def squared_norm(tensors: Iterable[Tensor]) -> float:
    """Return the sum of the squares of all elements.

    >>> squared_norm([torch.tensor([3.0]), torch.tensor([[4.0]])])
    25.0
    """
    return float(get_total_norm(tensors)) ** 2
