"""Baselines of ``BinaryPull``: the weights of binary layers trained with latent ones."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hwopt.graph.binary import sign
from hwopt.train.binary import BinaryTerm


class StraightThrough(BinaryTerm):
    """Baseline: latent real weights in [-1, 1], whose signs are used, as if they were themselves.

    Source: Courbariaux et al. 2016 (BinaryNet): the sign's gradient is 1 inside the box.
    """

    def start(self, model: nn.Module, samples: int) -> None:
        """Let the model use signs."""
        super().start(model, samples)
        for owner, leaf in self.owners:
            parametrize.register_parametrization(owner, leaf, _Signs(), unsafe=True)

    def finish(self) -> None:
        """Leave the signs in place of the latent weights."""
        for owner, leaf in self.owners:
            parametrize.remove_parametrizations(owner, leaf, leave_parametrized=True)


class TanhAnnealing(BinaryTerm):
    """Baseline: weights tanh(beta w) with a beta that grows to a sign's slope.

    Source: the mirror descent of Ajanthan et al. 2021, as in Paren's code: beta = growth^epoch.

    Args:
        weights: names of the binary layers' weights.
        epochs: of the training.
        growth: of beta in an epoch; 1.01 for 1000 epochs in Paren's code, which makes 20,959 in
            all. By default what makes that in the epochs there are.
    """

    def __init__(self, weights: Collection[str], epochs: int, growth: float | None = None) -> None:
        super().__init__(weights, epochs)
        self.growth = 1.01 ** (1000 / epochs) if growth is None else growth

    def __str__(self) -> str:
        return f"{super().__str__()} {self.growth}"

    def start(self, model: nn.Module, samples: int) -> None:
        """Let the model use the tanh."""
        super().start(model, samples)
        self.slope = _Tanh()
        for owner, leaf in self.owners:
            parametrize.register_parametrization(owner, leaf, self.slope, unsafe=True)

    def start_epoch(self, learning_rate: float) -> None:
        """Let the slope grow."""
        super().start_epoch(learning_rate)
        self.slope.beta = self.growth**self.epoch

    def finish(self) -> None:
        """Leave the signs in place of the latent weights."""
        for owner, leaf in self.owners:
            parametrize.remove_parametrizations(owner, leaf, leave_parametrized=False)
        self.project()


class Bop(BinaryTerm):
    """Baseline: flip a weight where a moving average of its gradient is against it.

    m <- (1 - rate) m + rate g; a weight changes its sign where |m| > threshold and m has its sign.
    Source: Helwegen et al. 2019, with the values of Paren's code.

    Args:
        weights: names of the binary layers' weights.
        epochs: of the training.
        rate: at which the average follows the gradient.
        threshold: below which an average flips nothing.
    """

    def __init__(
        self,
        weights: Collection[str],
        epochs: int,
        rate: float = 1e-4,
        threshold: float = 1e-8,
    ) -> None:
        super().__init__(weights, epochs)
        self.rate, self.threshold = rate, threshold

    def __str__(self) -> str:
        return f"{super().__str__()} {self.rate} {self.threshold}"

    def start(self, model: nn.Module, samples: int) -> None:
        """Begin with the signs."""
        super().start(model, samples)
        self.project()
        self.signs = [weight.detach().clone() for weight in self.weights]
        self.averages = [torch.zeros_like(weight) for weight in self.weights]

    @torch.no_grad()
    def after_step(self, learning_rate: float) -> None:
        """Flip, whatever the optimizer did to the weights."""
        for weight, signs, average in zip(self.weights, self.signs, self.averages, strict=True):
            if weight.grad is not None:
                average.lerp_(weight.grad, self.rate)
            against = (average.abs() > self.threshold) & (average.sign() == signs)
            signs.copy_(torch.where(against, -signs, signs))
            weight.copy_(signs)

    def state(self) -> dict[str, Any]:
        """Return the averages, too; the signs are the model's."""
        return super().state() | {"averages": self.averages}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        super().restore(state)
        for mine, saved in zip(self.averages, state["averages"], strict=True):
            mine.copy_(saved)
        for signs, weight in zip(self.signs, self.weights, strict=True):
            signs.copy_(weight.detach())


class _Signs(nn.Module):
    """Signs with the gradient of the identity."""

    def forward(self, weight: Tensor) -> Tensor:
        """Return signs; what is added and taken off again carries the gradient."""
        return sign(weight.detach()) + (weight - weight.detach())


class _Tanh(nn.Module):
    """The tanh of a multiple."""

    beta = 1.0

    def forward(self, weight: Tensor) -> Tensor:
        """Return tanh(beta w)."""
        return torch.tanh(self.beta * weight)
