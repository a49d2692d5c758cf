"""Which channels must be removed together, found by following labels through the graph.

Every element of every value carries the label of the channel that it belongs to. A value's labels
are an array of the value's rank (for a batch of one) with size 1 in every dimension along which
they do not change, so the channels of an image are labelled by an array of shape (1, C, 1, 1).

A layer gives its outputs fresh labels; elementwise operators make the labels of their operands
equal; reshape, transpose, concat and the like move labels as they move elements. Where a label
meets a parameter, that slice of the parameter belongs to the channel. What cannot be followed pins
its labels, with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hwopt.graph import Node, Parameter, Value, mac_counts, operators

if TYPE_CHECKING:
    from hwopt.graph import Graph

Labels = np.ndarray


@dataclass(frozen=True)
class Slices:
    """Slice i of ``parameter`` along ``axis`` belongs to the channel ``labels[i]``.

    Attributes:
        parameter: name of the parameter.
        axis: the dimension that is cut.
        labels: one label a slice.
        produces: the parameter makes the channels; otherwise it reads, scales or shifts them.
    """

    parameter: str
    axis: int
    labels: Labels
    produces: bool


@dataclass(frozen=True)
class Kept:
    """Which channels stay.

    Attributes:
        labels: the labels after all rules.
        classes: the class of every label.
        removed: for every class, whether it goes.
    """

    labels: ChannelLabels
    classes: Labels
    removed: np.ndarray

    def of(self, labels: Labels) -> np.ndarray:
        """Return, for an array of labels, which of them stay."""
        return ~self.removed[self.classes[labels]]

    def size(self, value: Value, axis: int) -> int:
        """Return the size of a value along an axis, for a batch of one, after the removal."""
        full = self.labels.graph.spec(value).at()
        axis %= len(full)
        known = self.labels.values.get(value)
        if known is None or known.shape[axis] == 1:
            return full[axis]
        others = tuple(d for d in range(known.ndim) if d != axis)
        return int(self.of(known).any(axis=others).sum())


Rewrite = Callable[[Node, Kept], Node]


@dataclass
class ChannelLabels:
    """Labels of all values while the graph is walked.

    Attributes:
        graph: what is walked.
        whole_parts: where channels are split into groups or heads, remove whole ones; otherwise
            narrow all of them alike.
        values: the labels of every value that has some.
        slices: where labels meet parameters.
        rewrites: nodes with attributes that state a size, and how to correct them.
        separate: layers that keep channels (or groups of them) apart, such as depthwise ones.
        stops: nodes at which channels could not be followed, with the reason.
    """

    graph: Graph
    whole_parts: bool = False
    count: int = 0
    values: dict[Value, Labels] = field(default_factory=dict)
    slices: list[Slices] = field(default_factory=list)
    rewrites: dict[str, Rewrite] = field(default_factory=dict)
    separate: set[str] = field(default_factory=set)
    stops: dict[str, str] = field(default_factory=dict)
    _equal: list[tuple[Labels, Labels]] = field(default_factory=list)
    _pinned: list[tuple[Labels, str]] = field(default_factory=list)

    # -- what rules call -------------------------------------------------------------------

    def fresh(self, count: int) -> Labels:
        """Return labels that no channel has yet."""
        self.count += count
        return np.arange(self.count - count, self.count)

    def pin(self, labels: Labels, reason: str) -> None:
        """Forbid the removal of these channels."""
        self._pinned.append((labels.reshape(-1), reason))

    def equate(self, first: Labels, second: Labels) -> None:
        """Demand that the channels go together, pairwise."""
        first, second = np.broadcast_arrays(first, second)
        self._equal.append((first.reshape(-1), second.reshape(-1)))

    def shape(self, value: Value) -> tuple[int, ...]:
        """Return the shape of a value for a batch of one."""
        return self.graph.spec(value).at()

    def read(self, value: Value, axis: int, node: Node) -> Labels:
        """Return the labels of a value along an axis; fresh pinned ones if it has none there.

        Labels that change along other dimensions, too, are made equal along those.
        """
        size = self.shape(value)[axis]
        known = self.values.get(value)
        if known is None:
            labels = self.fresh(size)
            self.pin(labels, self._unlabelled(value))
            self.values[value] = along(labels, axis, len(self.shape(value)))
            return labels
        if known.shape[axis] == 1:
            if known.size > 1:
                self.pin(known, f"{node.name} ({node.op}) reads another dimension")
            return np.broadcast_to(known.reshape(-1)[:1], (size,))
        return self.couple(known, axis).reshape(-1)

    def couple(self, labels: Labels, axis: int) -> Labels:
        """Make labels equal along all dimensions but one, and return them with that one only."""
        index = tuple(slice(None) if d == axis else slice(0, 1) for d in range(labels.ndim))
        if labels[index].size != labels.size:
            self.equate(labels[index], labels)
        return labels[index]

    def divide(self, labels: Labels, parts: int) -> Labels:
        """Couple a vector of labels that is read as equal parts; return it as (parts, size).

        Either all parts lose the same positions, or whole parts go: ``whole_parts`` says which.
        """
        table = labels.reshape(parts, -1)
        return np.broadcast_to(self.couple(table, 0 if self.whole_parts else 1), table.shape)

    def write(self, node: Node, labels: Labels, output: int = 0) -> None:
        """Set the labels of an output of a node."""
        self.values[Value(node.name, output)] = compress(labels)

    def parameter(self, name: str, axis: int, labels: Labels, *, produces: bool = False) -> None:
        """State that the slices of a parameter belong to the labelled channels."""
        for other in self.slices:
            if (other.parameter, other.axis) == (name, axis):
                self.equate(other.labels, labels)
        self.slices.append(Slices(name, axis, np.asarray(labels), produces))

    def of_parameter(self, name: str) -> Labels:
        """Label a parameter that is handed on along its last dimension that is not 1."""
        shape = self.graph.parameter(name).shape
        axis = max((d for d, size in enumerate(shape) if size > 1), default=0)
        written = self.fresh(shape[axis])
        self.parameter(name, axis, written)
        return along(written, axis, len(shape))

    def barrier(self, node: Node, reason: str) -> None:
        """Pin all that the node reads; its outputs have no labels."""
        self.stops[node.name] = reason
        for _, value in node.values():
            if value in self.values:
                self.pin(self.values[value], reason)

    @property
    def barriers(self) -> dict[str, str]:
        """The layers among them, which multiply."""
        return {
            name: reason
            for name, reason in self.stops.items()
            if operators.get(self.graph.node(name).op).macs is not mac_counts.none
        }

    # -- the result ------------------------------------------------------------------------

    def finish(self) -> tuple[Labels, dict[int, str]]:
        """Return the class of every label, and the reason for every class that must stay."""
        self._pin_partly_labelled_parameters()
        classes = self._rectangular()
        for value, labels in self.values.items():
            if len(np.unique(classes[labels])) == 1:
                self.pin(labels, f"{value.node} would have nothing left")
        pinned: dict[int, str] = {}
        for labels, reason in self._pinned:
            for index in np.unique(classes[labels]):
                pinned.setdefault(int(index), reason)
        return classes, pinned

    def _rectangular(self) -> Labels:
        """Couple labels until what is left of every value is rectangular; return the classes.

        A value that is split into (groups, channels) keeps rectangular only if its labels change
        along one of the two dimensions.
        """
        classes = self._classes()
        for labels in self.values.values():
            varying = np.flatnonzero(np.array(compress(classes[labels]).shape) > 1)
            if len(varying) > 1:
                self.couple(labels, int(varying[-2 if self.whole_parts else -1]))
                classes = self._classes()
        return classes

    def _classes(self) -> Labels:
        if self.count == 0:
            return np.zeros(0, dtype=int)
        pairs = self._equal or [(np.zeros(0, dtype=int),) * 2]
        first = np.concatenate([pair[0] for pair in pairs])
        second = np.concatenate([pair[1] for pair in pairs])
        links = coo_array((np.ones(len(first)), (first, second)), shape=(self.count,) * 2)
        return connected_components(links, directed=False)[1]

    def _pin_partly_labelled_parameters(self) -> None:
        """Pin slices of parameters that some reader takes as a whole."""
        known = Counter((s.parameter, s.axis) for s in self.slices)
        for entry in list(self.slices):
            users = self.graph.parameter_users(entry.parameter)
            is_output = Parameter(entry.parameter) in self.graph.outputs.values()
            if known[entry.parameter, entry.axis] < len(users) or is_output:
                self.pin(entry.labels, f"{entry.parameter} is also read as a whole")

    def _unlabelled(self, value: Value) -> str:
        producer = self.graph.producer(value)
        if producer.name in self.graph.inputs:
            return f"they are those of the model's input {producer.name}"
        return f"the channels of {producer.name} ({producer.op}) could not be followed"


def along(labels: Labels, axis: int, rank: int) -> Labels:
    """Return a vector of labels as an array that changes along one axis.

    >>> along(np.arange(3), 1, 4).shape
    (1, 3, 1, 1)
    """
    return labels.reshape([-1 if d == axis % rank else 1 for d in range(rank)])


def compress(labels: Labels) -> Labels:
    """Return labels with size 1 in every dimension along which they do not change.

    >>> compress(np.array([[3, 4], [3, 4]]))
    array([[3, 4]])
    """
    for axis in range(labels.ndim):
        first = labels.take([0], axis=axis)
        if labels.shape[axis] > 1 and (labels == first).all():
            labels = first
    return labels
