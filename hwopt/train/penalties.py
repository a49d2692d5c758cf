"""l1 penalties that leave weights, or whole channels, at exactly zero."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hwopt.errors import HwoptError
from hwopt.optim.cumulative_l1 import Form, Growth, L1Clipping
from hwopt.train.terms import Term

if TYPE_CHECKING:
    from hwopt.graph import Graph


@dataclasses.dataclass(frozen=True)
class ChannelSlices:
    """Which slices of which weights make a channel, for all channels of a graph.

    Attributes:
        slices: by the weight's name: the axis, and the number of the channel for every slice.
        count: how many channels there are.
    """

    slices: Mapping[str, tuple[int, Tensor]]
    count: int

    @classmethod
    def of(cls, graph: Graph) -> ChannelSlices:
        """Return the removable channels of a graph; the others are not penalised."""
        from hwopt.passes.channels import label_channels

        labels = label_channels(graph)
        classes, pinned = labels.finish()
        found = {}
        for entry in labels.slices:
            if entry.produces and entry.parameter not in found:
                numbers = torch.from_numpy(classes[entry.labels])
                stays = torch.tensor([int(n) in pinned for n in numbers])
                found[entry.parameter] = (entry.axis, torch.where(stays, -1, numbers))
        return cls(found, int(classes.max(initial=-1)) + 1)


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
        form: Form = "cumulative",
        grows: Growth = "step",
        channels: ChannelSlices | None = None,
        weights: Collection[str] | None = None,
    ) -> None:
        if strength < 0:
            raise HwoptError(f"the strength of an l1 penalty must be at least 0, not {strength}")
        self.strength, self.form, self.grows, self.channels = strength, form, grows, channels
        self.weights = weights

    def __str__(self) -> str:
        what = "channels" if self.channels else "weights"
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
            weights = {name: named[name] for name in chosen}
            self._clipping = L1Clipping(weights, share, self.form, self.grows)
        else:
            missing = sorted(self.channels.slices.keys() - named.keys())
            if missing:
                raise HwoptError(f"the channels are of another model: it has no {missing[0]!r}")
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
        form: Form,
        grows: Growth,
        channels: ChannelSlices,
    ) -> None:
        super().__init__(weights, share, form, grows)
        self.channels = channels
        self.received = {"": torch.zeros(channels.count)}

    def _clip(self, amount: float) -> None:
        channels = self.channels
        squares, sizes = torch.zeros(2, channels.count + 1)
        for name, (axis, numbers) in channels.slices.items():
            weight = self.weights[name]
            others = [d for d in range(weight.dim()) if d != axis]
            squares.index_add_(0, numbers % (channels.count + 1), (weight**2).sum(others))
            each = torch.full((len(numbers),), weight.numel() / len(numbers))
            sizes.index_add_(0, numbers % (channels.count + 1), each)
        norms, received = squares[:-1].sqrt(), self.received[""]
        due = amount * sizes[:-1].sqrt()
        if self.form == "cumulative":
            due = (self.possible * sizes[:-1].sqrt() + received).clamp_(min=0)
        left = (norms - due).clamp_(min=0)
        received += left - norms
        factors = torch.cat([torch.where(norms > 0, left / norms, 0.0), torch.ones(1)])
        for name, (axis, numbers) in channels.slices.items():
            weight = self.weights[name]
            shape = [-1 if d == axis else 1 for d in range(weight.dim())]
            weight.mul_(factors[numbers].reshape(shape))
