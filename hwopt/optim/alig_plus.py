"""ALI-G+: the step size from the loss above what every sample is thought to reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from hwopt.errors import HwoptError
from hwopt.optim.base import LossOptimizer, squared_norm
from hwopt.optim.behaviour import Closure, TrainingFacts

#: The loss of a sample that was not seen yet.
_UNSEEN = 1e6


class ALIGPlus(LossOptimizer):
    """ALI-G with approximate optimal values, for models that cannot fit every sample.

    Every sample has a value that its loss is thought to reach, 0 at first; a step goes where the
    mean loss would be the mean of these values if it were linear. After every ``num_epochs //
    updates`` epochs a value moves half-way to the sample's loss in the best epoch so far, or, if
    that was below it, back by half of its last move. Source: Paren, Poudel and Kumar 2022 ("Faking
    interpolation until you make it"); the losses of the best epoch are kept as the paper describes,
    which the authors' code does not do.

    Args:
        params: parameters or groups.
        max_lr: the largest step size.
        num_samples: of the training set; indices are smaller.
        num_epochs: of the training.
        updates: how often, at least, the values move in it.
        momentum: Nesterov's, in [0, 1).
        weight_decay: times the step size; not part of the gradient's norm.

    Raises:
        HwoptError: if a number is out of range, or parameters are on different devices.

    >>> w = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = ALIGPlus([w], max_lr=0.1, num_samples=2, num_epochs=10, momentum=0.0)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     losses = w ** 2
    ...     losses.mean().backward()
    ...     return losses
    >>> optimizer.step(closure, torch.tensor([0, 1])).tolist(), w.tolist()
    ([1.0, 1.0], [0.8999999761581421, 0.8999999761581421])
    """

    per_sample_loss: ClassVar[bool] = True
    in_one_process: ClassVar[bool] = True

    def __init__(
        self,
        params: Any,
        max_lr: float,
        num_samples: int,
        num_epochs: int,
        updates: int = 5,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, max_lr, momentum, None, weight_decay=weight_decay)
        if num_samples < 1 or not 1 <= updates <= num_epochs:
            raise HwoptError(
                "ALIGPlus: num_samples must be positive and updates 1 to num_epochs, not "
                f"{num_samples} and {updates} of {num_epochs}"
            )
        if weight_decay < 0:
            raise HwoptError(f"ALIGPlus: weight_decay must be at least 0, not {weight_decay}")
        self._every = num_epochs // updates
        zeros = torch.zeros(num_samples)
        # Of every sample: its value, the value's last move, its loss, that in the best epoch.
        self.param_groups[0].update(
            epoch=0,
            values=zeros,
            moves=zeros.clone(),
            losses=torch.full_like(zeros, _UNSEEN),
            best=torch.full_like(zeros, _UNSEEN),
        )

    @classmethod
    def training_arguments(cls, training: TrainingFacts) -> Mapping[str, Any]:
        """Return what it knows of its training; see :class:`hwopt.optim.behaviour.Behaviour`."""
        counts = {"num_samples": training.samples, "num_epochs": training.epochs}
        rates = {"max_lr": training.learning_rate, "weight_decay": training.weight_decay}
        return {**rates, **counts}

    def step(  # type: ignore[override]
        self, closure: Closure | None = None, indices: Tensor | None = None
    ) -> Tensor:
        """Take a step and return the losses before it.

        Args:
            closure: computes the gradients of the mean loss and returns the loss of every sample,
                float (N,).
            indices: of the samples in the training set, int64 (N,).

        Raises:
            HwoptError: if a loss is negative or no number.
        """
        if closure is None or indices is None:
            raise HwoptError("ALIGPlus: a step needs a closure and the indices of its samples")
        losses = self._evaluate(closure)
        mine = self.param_groups[0]
        found = losses.detach().float().cpu()
        mine["losses"][indices] = found
        above = float((found - mine["values"][indices]).mean())
        trained = [(group, *self._trained(group)) for group in self.param_groups]
        norm = squared_norm(gradient for *_, gradients in trained for gradient in gradients)
        for group, parameters, gradients in trained:
            if not parameters:
                continue
            size = min(max(above / (norm + 1e-9), 0.0), group["lr"])
            if group["weight_decay"]:
                with torch.no_grad():
                    torch._foreach_mul_(parameters, 1 - size * group["weight_decay"])
            self._move(group, torch._foreach_mul(gradients, -size), parameters)
        return losses

    def end_epoch(self) -> None:
        """Keep the losses of the best epoch; move the values when their time has come."""
        mine = self.param_groups[0]
        losses, known = mine["losses"], mine["best"] < _UNSEEN
        is_best = not known.any() or losses[known].mean() < mine["best"][known].mean()
        mine["best"] = losses.clone() if is_best else torch.where(known, mine["best"], losses)
        mine["epoch"] += 1
        if mine["epoch"] % self._every:
            return
        values, moves, best = mine["values"], mine["moves"], mine["best"]
        is_reached, is_seen = best <= values, best < _UNSEEN
        up, back = (best - values).clamp(min=0) / 2, (values - moves / 2).clamp(min=0)
        mine["values"] = torch.where(is_seen, torch.where(is_reached, back, values + up), values)
        mine["moves"] = torch.where(is_seen & ~is_reached, up, moves)
