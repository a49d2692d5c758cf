"""Training under constraints, by primal and dual steps.

The loss gets a penalty for what is violated, and after every epoch the multiplier of a constraint
grows by what was violated on average, or falls by what was left. Source: the update rule of Kag's
code for distilling selective knowledge (DiSK).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hwopt.errors import HwoptError
from hwopt.train.constraints import Constraint
from hwopt.train.terms import Term


class Constrained(Term):
    """Minimise the loss while constraints hold.

    A step minimises loss + sum of m r + strength / 2 r^2, r what a constraint is violated by on the
    batch; after an epoch its multiplier m becomes max(least, m + strength x mean of value - level),
    so that it also falls.

    Args:
        constraints: what is to hold.
        epochs: of the training.
        strength: rho, positive.
        least: of the multipliers, at least 0.

    Raises:
        HwoptError: if a number is out of range, or there is no constraint.

    Attributes:
        multipliers: one a constraint.
        values: the mean of each over the last epoch.
    """

    epochs: int
    alone = True  # the means over an epoch would be others in every process

    def __init__(
        self,
        constraints: Sequence[Constraint],
        epochs: int,
        strength: float = 1.0,
        least: float = 0.0,
    ) -> None:
        if not constraints or not strength > 0 or least < 0:
            raise HwoptError(
                "Constrained: there must be a constraint, a positive strength and a least "
                f"multiplier of 0 or more, not {len(constraints)}, {strength} and {least}"
            )
        self.constraints, self.epochs = list(constraints), epochs
        self.strength, self.least = strength, least
        self.needs_classes = any(constraint.needs_classes for constraint in self.constraints)

    def __str__(self) -> str:
        names = ", ".join(map(str, self.constraints))
        return f"constrained {self.strength} {self.least}: {names}"

    def start(self, model: nn.Module, samples: int) -> None:
        """Begin with the least multipliers."""
        self.model, self.epoch = model, 0
        for constraint in self.constraints:
            constraint.task = self.task
        self.multipliers = [self.least] * len(self.constraints)
        self.values: list[float] = []
        self._sums, self._batches = [0.0] * len(self.constraints), 0

    def start_epoch(self, learning_rate: float) -> None:
        """Change the multipliers by what was found in the epoch before."""
        self._update()
        self.epoch += 1

    def loss(self, loss: Tensor, inputs: Any, outputs: Any, targets: Any) -> Tensor:
        """Return the loss with what is violated."""
        self._batches += 1
        for place, level in enumerate(self._levels()):
            with torch.random.fork_rng(devices=[]):
                value = self.constraints[place].value(self.model, inputs, outputs, targets)
            found = value.item()
            if not math.isfinite(found):
                raise HwoptError(
                    f"constraint {self.constraints[place]} became {found} in epoch {self.epoch}: "
                    "lower the learning rate or the strength"
                )
            self._sums[place] += found
            excess = (value - level).clamp(min=0)
            if excess.item() > 0:
                loss = loss + self.multipliers[place] * excess + self.strength / 2 * excess**2
        return loss

    def note(self) -> str:
        """Return the multipliers, of the epochs before this one, and what they are of."""
        return ", ".join(
            f"{constraint}: multiplier {multiplier:.3g}"
            for constraint, multiplier in zip(self.constraints, self.multipliers, strict=True)
        )

    def finish(self) -> None:
        """Take the last epoch into account."""
        self._update()

    def state(self) -> dict[str, Any]:
        """Return the multipliers and what they follow."""
        return {
            "epoch": self.epoch,
            "multipliers": self.multipliers,
            "sums": self._sums,
            "batches": self._batches,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.epoch, self.multipliers = state["epoch"], list(state["multipliers"])
        self._sums, self._batches = list(state["sums"]), state["batches"]

    def _levels(self) -> list[float]:
        progress = max(0, self.epoch - 1) / max(1, self.epochs - 1)
        return [constraint.allowed(progress) for constraint in self.constraints]

    def _update(self) -> None:
        if not self._batches:
            return
        self.values = [total / self._batches for total in self._sums]
        self.multipliers = [
            max(self.least, multiplier + self.strength * (value - level))
            for multiplier, value, level in zip(
                self.multipliers, self.values, self._levels(), strict=True
            )
        ]
        self._sums, self._batches = [0.0] * len(self.constraints), 0
