"""l1 penalties that leave weights at exactly zero, and an optimizer with one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.optim import Optimizer

from hwopt.errors import HwoptError, check_choice
from hwopt.optim.base import Closure

PenaltyForm = Literal["cumulative", "proximal"]
PenaltyGrowth = Literal["step", "epoch"]


class L1Clipping:
    """Clips weights towards zero after every step.

    ``cumulative``: every weight is clipped by the penalty that it could have received so far and
    has not yet (Tsuruoka et al. 2009, section 3.2; used by Bi 2020), which evens out the noise of
    stochastic gradients. ``proximal``: it is soft-thresholded by learning rate x share.

    Args:
        weights: by name.
        share: the penalty of one sample: strength / samples.
        form: ``cumulative`` or ``proximal``.
        grows: when the penalty that a weight could have received grows by learning rate x share.

    Raises:
        HwoptError: on an unknown form or growth.

    >>> weight = torch.tensor([0.5, -0.15])
    >>> clipping = L1Clipping({"w": weight}, share=1.0)
    >>> for _ in range(2):
    ...     clipping.after_step(learning_rate=0.1)
    >>> weight
    tensor([0.3000, -0.0000])
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        share: float,
        form: PenaltyForm = "cumulative",
        grows: PenaltyGrowth = "step",
    ) -> None:
        check_choice("form of an l1 penalty", form, get_args(PenaltyForm))
        check_choice("growth of an l1 penalty", grows, get_args(PenaltyGrowth))
        self.weights, self.share, self.form, self.grows = dict(weights), share, form, grows
        self.possible = 0.0
        self.received = {name: torch.zeros_like(weight) for name, weight in weights.items()}

    def start_epoch(self, learning_rate: float) -> None:
        """Let the penalty grow, if it does so by epochs."""
        if self.grows == "epoch":
            self.possible += learning_rate * self.share

    @torch.no_grad()
    def after_step(self, learning_rate: float) -> None:
        """Clip all weights."""
        if not self.share:
            return
        amount = learning_rate * self.share
        if self.grows == "step":
            self.possible += amount
        self._clip(amount)

    def _clip(self, amount: float) -> None:
        for name, weight in self.weights.items():
            received = self.received[name]
            due = torch.full_like(weight, amount)
            if self.form == "cumulative":
                due = (self.possible + weight.sign() * received).clamp_(min=0)
            old = weight.clone()
            weight.copy_(weight.sign() * (weight.abs() - due).clamp_(min=0))
            received += weight - old

    def state(self) -> dict[str, Any]:
        """Return the penalties that weights could have received, and did."""
        return {"possible": self.possible, "received": self.received}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.possible = state["possible"]
        for name, received in state["received"].items():
            self.received[name].copy_(received)


class CumulativeL1:
    """An optimizer whose steps are followed by an l1 penalty with exact zeros.

    For training loops of your own; ``fit`` has the same as a term, ``hwopt.train.L1Penalty``.

    Args:
        optimizer: any; the ``lr`` of its first group counts.
        strength: C: the objective is the mean loss + C / samples * l1 norm.
        samples: of the training set.
        weights: which are penalised; by default all of the optimizer's with two dimensions or more,
            which spares biases and batch norms.
        form, grows: see :class:`L1Clipping`; with ``grows="epoch"`` call ``start_epoch``.

    Raises:
        HwoptError: if the strength is negative, or there is no sample.

    >>> model = torch.nn.Linear(4, 4)
    >>> optimizer = CumulativeL1(torch.optim.SGD(model.parameters(), 0.1), 50.0, samples=10)
    >>> for _ in range(5):
    ...     optimizer.zero_grad()
    ...     model(torch.ones(1, 4)).square().sum().backward()
    ...     optimizer.step()
    >>> int(model.weight.count_nonzero())
    0
    """

    def __init__(
        self,
        optimizer: Optimizer,
        strength: float,
        samples: int,
        weights: Iterable[Tensor] | None = None,
        form: PenaltyForm = "cumulative",
        grows: PenaltyGrowth = "step",
    ) -> None:
        if strength < 0 or samples < 1:
            raise HwoptError(
                "CumulativeL1: strength must be at least 0 and samples positive, not "
                f"{strength} and {samples}"
            )
        self.optimizer = optimizer
        if weights is None:
            every = (p for group in optimizer.param_groups for p in group["params"])
            weights = [p for p in every if p.dim() > 1]
        named = {str(number): weight for number, weight in enumerate(weights)}
        self._clipping = L1Clipping(named, strength / samples, form, grows)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of the optimizer."""
        return self.optimizer.param_groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        self.optimizer.zero_grad(set_to_none)

    def start_epoch(self) -> None:
        """Let the penalty grow, if it does so by epochs."""
        self._clipping.start_epoch(self.param_groups[0]["lr"])

    def step(self, closure: Closure | None = None) -> Any:
        """Take the optimizer's step, then clip the weights; return what the optimizer does."""
        result = self.optimizer.step() if closure is None else self.optimizer.step(closure)  # type: ignore[arg-type]
        self._clipping.after_step(self.param_groups[0]["lr"])
        return result

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state and the penalty's."""
        return {"optimizer": self.optimizer.state_dict(), "l1": self._clipping.state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        self._clipping.restore(state["l1"])
