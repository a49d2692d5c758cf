"""l1 penalties that leave weights, or whole channels, at exactly zero."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hwopt.errors import HwoptError
from hwopt.optim.cumulative_l1 import L1Clipping, PenaltyForm, PenaltyGrowth
from hwopt.train.channel_slices import ChannelSlices
from hwopt.train.terms import Term


class L1Penalty(Term):
    """Minimise loss + strength / samples * l1 norm of the weights, with exact zeros.

    The forms are those of :class:`hwopt.optim.L1Clipping`. Zeros may grow again, until
    ``prune-weights{criterion=zero}`` masks them.

    With ``channels`` the norm is, for every removable channel, the Euclidean norm of all weights
    that make it times the root of their number (group lasso), so that channels as a whole become
    zero and ``condense`` removes them (our reading: the thesis has weights only).

    Args:
        strength: of the penalty, the C of Bi 2020; 0 changes nothing.
        form: ``cumulative`` or ``proximal``.
        grows: of ``cumulative``: when the penalty that a weight could have received grows by
            learning rate x strength / samples: every ``step`` (Tsuruoka) or once an ``epoch``, as
            in Bi's code. The two differ by a factor of the steps of an epoch.
        channels: penalise channels, not weights.
        weights: names of the weights that are penalised, such as
            ``hwopt.passes.layers.weights(graph)``; by default all parameters of two dimensions or
            more, which spares biases and batch norms.

    Raises:
        HwoptError: if the strength is negative.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = model.weight.data.fill_(0.5)
    >>> penalty = L1Penalty(strength=1.0)
    >>> penalty.start(model, samples=1)
    >>> values = []
    >>> for _ in range(6):
    ...     penalty.after_step(learning_rate=0.1)
    ...     values.append(round(model.weight.item(), 6))
    >>> values
    [0.4, 0.3, 0.2, 0.1, 0.0, 0.0]
    """

    def __init__(
        self,
        strength: float,
        form: PenaltyForm = "cumulative",
        grows: PenaltyGrowth = "step",
        channels: ChannelSlices | None = None,
        weights: Collection[str] | None = None,
    ) -> None:
        if strength < 0:
            raise HwoptError(f"the strength of an l1 penalty must be at least 0, not {strength}")
        self.strength, self.form, self.grows, self.channels = strength, form, grows, channels
        self.weights = weights

    def __str__(self) -> str:
        what = "weights" if self.weights is None else f"{len(self.weights)} weights"
        if self.channels:
            what = f"{self.channels.count} channels of {len(self.channels.slices)} weights"
        return f"l1 {self.form} {self.strength} {self.grows} {what}"

    def start(self, model: nn.Module, samples: int) -> None:
        """Find the weights; nothing has been received yet."""
        share = self.strength / samples
        named = dict(model.named_parameters())
        if self.channels is None:
            chosen = self.weights
            if chosen is None:
                chosen = [name for name, parameter in named.items() if parameter.dim() > 1]
            missing = sorted(set(chosen) - named.keys())
            if missing:
                raise HwoptError(f"the weights are of another model: it has no {missing[0]!r}")
            # Frozen weights are moved by no training.
            weights = {name: named[name] for name in chosen if named[name].requires_grad}
            self._clipping = L1Clipping(weights, share, self.form, self.grows)
        else:
            self.channels.check(named)
            weights = {name: named[name] for name in self.channels.slices}
            self._clipping = _ChannelClipping(weights, share, self.form, self.grows, self.channels)

    def start_epoch(self, learning_rate: float) -> None:
        """Let the penalty grow, if it does so by epochs."""
        self._clipping.start_epoch(learning_rate)

    def after_step(self, learning_rate: float) -> None:
        """Clip all weights, or shrink all channels, towards zero."""
        self._clipping.after_step(learning_rate)

    def state(self) -> dict[str, Any]:
        """Return the penalties that weights could have received, and did."""
        return self._clipping.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._clipping.restore(state)


class _ChannelClipping(L1Clipping):
    """Shrinks channels, each made by slices of several weights."""

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        share: float,
        form: PenaltyForm,
        grows: PenaltyGrowth,
        channels: ChannelSlices,
    ) -> None:
        super().__init__(weights, share, form, grows)
        self.channels = channels
        self.received = {"": torch.zeros(channels.count)}
        ones = {name: torch.ones_like(weight) for name, weight in self.weights.items()}
        self._roots = channels.sums(ones).sqrt()

    def _clip(self, amount: float) -> None:
        channels = self.channels
        squares = channels.sums({name: weight**2 for name, weight in self.weights.items()})
        norms, received = squares.sqrt(), self.received[""]
        due = amount * self._roots
        if self.form == "cumulative":
            due = (self.possible * self._roots + received).clamp_(min=0)
        left = (norms - due).clamp_(min=0)
        received += left - norms
        channels.scale(self.weights, torch.where(norms > 0, left / norms, 0.0))
