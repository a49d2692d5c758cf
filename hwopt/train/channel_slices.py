"""Channels as slices of the parameters that make them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hwopt.errors import HwoptError

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
    def of(cls, graph: Graph, affine: bool = False) -> ChannelSlices:
        """Return the removable channels of a graph; the others get no number but -1.

        Args:
            graph: whose channels.
            affine: with the biases of the layers and the scales and shifts of normalizations, not
                only the weights that make the channels.
        """
        from hwopt.passes.channels import label_channels

        labels = label_channels(graph)
        classes, pinned = labels.finish()
        found = {}
        for entry in labels.slices:
            scales = affine and graph.parameter(entry.parameter).dim() == 1
            if (entry.produces or scales) and entry.parameter not in found:
                found[entry.parameter] = (entry.axis, torch.from_numpy(classes[entry.labels]))
        trained = {name: entry for name, entry in found.items() if graph.is_trainable(name)}
        makers = {entry.parameter for entry in labels.slices if entry.produces}
        stays = torch.zeros(int(classes.max(initial=-1)) + 1, dtype=torch.bool)
        stays[list(pinned)] = True
        for name in makers & (found.keys() - trained.keys()):
            stays[found[name][1]] = True  # what is not trained cannot become zero
        return cls(
            {
                name: (axis, torch.where(stays[numbers], -1, numbers))
                for name, (axis, numbers) in trained.items()
            },
            len(stays),
        )

    def removable(self) -> Tensor:
        """Return for every channel whether weights make it that can become zero, bool (count,)."""
        found = torch.zeros(self.count + 1, dtype=torch.bool)
        for _, numbers in self.slices.values():
            found[numbers] = True
        return found[:-1]

    def check(self, parameters: Mapping[str, Tensor]) -> None:
        """Refuse the parameters of a model that these are no channels of."""
        missing = sorted(self.slices.keys() - parameters.keys())
        if missing:
            raise HwoptError(f"the channels are of another model: it has no {missing[0]!r}")

    def sums(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return for every channel the sum of its slices, float32 (count,)."""
        totals = torch.zeros(self.count + 1)  # the last one is what no channel has
        for name, (axis, numbers) in self.slices.items():
            tensor = tensors[name]
            others = [d for d in range(tensor.dim()) if d != axis]
            summed = tensor.sum(others) if others else tensor
            totals.index_add_(0, numbers % (self.count + 1), summed)
        return totals[:-1]

    def scale(self, tensors: Mapping[str, Tensor], factors: Tensor) -> None:
        """Multiply all slices of every channel by its factor, in place."""
        factors = torch.cat([factors, torch.ones(1)])
        for name, (axis, numbers) in self.slices.items():
            tensor = tensors[name]
            shape = [-1 if d == axis else 1 for d in range(tensor.dim())]
            tensor.mul_(factors[numbers].reshape(shape))
