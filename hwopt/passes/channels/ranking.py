"""The channels of a graph, and how much they matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwopt.passes.channels.groups import ChannelGroup
from hwopt.passes.channels.labels import ChannelLabels


@dataclass(frozen=True)
class Ranking:
    """The channels of a graph and how much they matter.

    Attributes:
        labels: of the graph.
        classes: the class of every label; what has the same class goes together.
        pinned: why a class must stay.
        groups: the classes by the layers that make them.
        scores: of every class, float64; NaN where the criterion does not apply.
        are_losses: scores are shares of what layers say that are lost, weakest first, and so can be
            compared between groups.
    """

    labels: ChannelLabels
    classes: np.ndarray
    pinned: dict[int, str]
    groups: list[ChannelGroup]
    scores: np.ndarray
    are_losses: bool = False

    def removable(self, group: ChannelGroup) -> list[int]:
        """Return the classes of a group that may go."""
        return [c for c in group.classes if c not in self.pinned and not np.isnan(self.scores[c])]

    def named_groups(self) -> dict[str, ChannelGroup]:
        """Return the groups that can be narrowed by a layer that is in no other group."""
        found = {}
        for group in self.groups:
            if not self.removable(group):
                continue
            for layer in group.layers:
                name = layer.removesuffix(".weight")
                if sum(other.is_named((name,)) for other in self.groups) == 1:
                    found[name] = group
                    break
        return found
