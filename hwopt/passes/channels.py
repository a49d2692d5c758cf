"""Which channels must be removed together, found by following labels through the graph.

Every channel of every value carries a label. A convolution gives its outputs fresh labels;
a batch norm or a pooling hands labels on; a sum makes the labels of its operands equal; concat
joins them; flatten repeats them. Where a label meets a parameter, that slice of the parameter
belongs to the channel. What cannot be followed pins its labels, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hwopt.graph import Node, Value

if TYPE_CHECKING:
    from hwopt.graph import Graph

Labels = np.ndarray


@dataclass(frozen=True)
class Slices:
    """Slice i of ``parameter`` along ``axis`` belongs to the channel ``labels[i]``."""

    parameter: str
    axis: int
    labels: Labels
    produces: bool


@dataclass
class ChannelLabels:
    """Labels of all values while the graph is walked."""

    graph: Graph
    count: int = 0
    values: dict[Value, tuple[int, Labels]] = field(default_factory=dict)
    slices: list[Slices] = field(default_factory=list)
    depthwise: set[str] = field(default_factory=set)
    flattened: set[str] = field(default_factory=set)
    _equal: list[tuple[Labels, Labels]] = field(default_factory=list)
    _pinned: list[tuple[Labels, str]] = field(default_factory=list)

    def fresh(self, count: int) -> Labels:
        """Return labels that no channel has yet."""
        self.count += count
        return np.arange(self.count - count, self.count)

    def pin(self, labels: Labels, reason: str) -> None:
        """Forbid the removal of these channels."""
        self._pinned.append((labels, reason))

    def equate(self, first: Labels, second: Labels) -> None:
        """Demand that the channels go together, pairwise."""
        self._equal.append((first, second))

    def read(self, value: Value, axis: int, node: Node) -> Labels:
        """Return the labels of a value along an axis; fresh pinned ones if it has none there."""
        known = self.values.get(value)
        if known is not None and known[0] == axis:
            return known[1]
        if known is not None:
            self.pin(known[1], f"{node.name} ({node.op}) reads another dimension")
        size = self.graph.spec(value).at()[axis]
        labels = self.fresh(size)
        self.pin(labels, f"the channels before {node.name} could not be followed")
        return labels

    def write(self, node: Node, axis: int, labels: Labels, output: int = 0) -> None:
        """Set the labels of an output of a node."""
        self.values[Value(node.name, output)] = (axis, labels)

    def parameter(self, name: str, axis: int, labels: Labels, *, produces: bool = False) -> None:
        """State that the slices of a parameter belong to the labelled channels."""
        for other in self.slices:
            if (other.parameter, other.axis) == (name, axis):
                self.equate(other.labels, labels)
        self.slices.append(Slices(name, axis, labels, produces))

    def barrier(self, node: Node, reason: str) -> None:
        """Pin all that the node reads; its outputs have no labels."""
        for _, value in node.values():
            if value in self.values:
                self.pin(self.values[value][1], reason)

    def classes(self) -> tuple[Labels, dict[int, str]]:
        """Return the class of every label, and the reason for every pinned class."""
        if self.count == 0:
            return np.zeros(0, dtype=int), {}
        pairs = self._equal or [(np.zeros(0, dtype=int),) * 2]
        first = np.concatenate([pair[0] for pair in pairs])
        second = np.concatenate([pair[1] for pair in pairs])
        links = coo_array((np.ones(len(first)), (first, second)), shape=(self.count,) * 2)
        _, classes = connected_components(links, directed=False)
        pinned: dict[int, str] = {}
        for labels, reason in self._pinned:
            for index in np.unique(classes[labels]):
                pinned.setdefault(int(index), reason)
        return classes, pinned


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that come from the same layers.

    Attributes:
        layers: the parameters that produce the channels.
        classes: the removable channels: all labels of one class go together.
    """

    layers: tuple[str, ...]
    classes: tuple[int, ...]


def groups(slices: Sequence[Slices], classes: Labels) -> list[ChannelGroup]:
    """Return the channels sorted by the layers that produce them."""
    layers_of: dict[int, list[str]] = {}
    for entry in slices:
        if entry.produces:
            for index in dict.fromkeys(classes[entry.labels].tolist()):
                layers = layers_of.setdefault(index, [])
                if entry.parameter not in layers:
                    layers.append(entry.parameter)
    by_layers: dict[tuple[str, ...], list[int]] = {}
    for index, layers in layers_of.items():
        by_layers.setdefault(tuple(layers), []).append(index)
    return [ChannelGroup(layers, tuple(members)) for layers, members in by_layers.items()]
