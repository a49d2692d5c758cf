"""``condense``: remove channels of which masks or penalties left nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwopt.passes.base import Context, Note, Pass, PassResult
from hwopt.passes.channels import Kept, find_groups, label_channels
from hwopt.passes.channels.carry import Carry, carry
from hwopt.passes.channels.constants import Constants
from hwopt.passes.channels.labels import ChannelLabels, Labels
from hwopt.passes.channels.removal import keep_something, remove_channels
from hwopt.passes.layers import OUTPUT_AXIS

if TYPE_CHECKING:
    from hwopt.graph import Graph


@dataclass(frozen=True)
class Condense(Pass):
    """Remove rows, columns and channels that are entirely zero, for real.

    A channel goes if all weights that make it are zero (it is a constant, which goes on into the
    layers that read it) or all weights that read it are zero. Zeros elsewhere stay: they are stored
    packed. Channels that a layer or group normalization counts stay, too, for its statistics are of
    all of them.

    Options:
        constants: ``exact`` (the outputs stay what they are), ``bias`` or ``drop``: see
            ``prune-channels``.

    >>> str(Condense())
    'condense'
    """

    name = "condense"

    constants: Carry = "exact"

    @property
    def preserves_function(self) -> bool:
        """Whether all that removed channels held is kept."""
        return self.constants == "exact"

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph without channels that are entirely zero."""
        labels = label_channels(graph)
        classes, pinned = labels.finish()
        removed = _unmade(labels, classes) | _unread(labels, classes)
        removed &= ~normalized(labels, classes)
        removed[list(pinned)] = False
        kept = Kept(labels, classes, removed)
        removed[list(keep_something(kept, np.zeros(len(removed))))] = False
        removed[_varying(kept)] = False
        notes = [
            Note(
                str(group),
                f"{int(removed[list(group.classes)].sum())} empty channels removed",
                True,
            )
            for group in find_groups(labels, classes)
            if removed[list(group.classes)].any()
        ]
        if not removed.any():
            reason = "no channel is entirely zero, or none of those can be removed"
            return PassResult(graph, False, (Note("all layers", reason, changed=False),))
        result = remove_channels(kept)
        notes += carry(result, kept, self.constants)
        return PassResult(result, modified=True, notes=tuple(notes))


def _unmade(labels: ChannelLabels, classes: Labels) -> np.ndarray:
    """Return the classes whose channels are made by weights of zero only."""
    made, zero = (np.zeros(_count(classes), dtype=bool) for _ in range(2))
    for entry in labels.slices:
        if entry.produces:
            made[classes[entry.labels]] = True
            zero[classes[entry.labels[_nonzero(labels, entry.parameter, entry.axis)]]] = True
    return made & ~zero


def _unread(labels: ChannelLabels, classes: Labels) -> np.ndarray:
    """Return the classes whose channels are read by layers only, with weights of zero."""
    read, used = (np.zeros(_count(classes), dtype=bool) for _ in range(2))
    for node in labels.graph.nodes():
        is_layer = node.op in OUTPUT_AXIS and node.name not in labels.separate
        for role, value in node.values():
            array = labels.values.get(value)
            if array is None:
                continue
            if not is_layer or role != "input":
                # A product with another value reads both: it hands the channel on or contracts it.
                if node.op in ("matmul", "bmm", "scaled_dot_product_attention"):
                    used[classes[array]] = True
                continue
            read[classes[array]] = True
            axis = 1 - OUTPUT_AXIS[node.op]
            weight = node.parameter("weight")
            for entry in labels.slices:
                if (entry.parameter, entry.axis) == (weight, axis):
                    nonzero = _nonzero(labels, entry.parameter, axis)
                    used[classes[entry.labels[nonzero]]] = True
    return read & ~used


def normalized(labels: ChannelLabels, classes: Labels) -> np.ndarray:
    """Return which classes a normalization over channels takes statistics of."""
    found = np.zeros(_count(classes), dtype=bool)
    for node in labels.graph.nodes():
        if node.op in ("layer_norm", "group_norm") and node.input in labels.values:
            found[classes[labels.values[node.input]]] = True
    return found


def _varying(kept: Kept) -> list[int]:
    """Return removed classes that a layer reads after they are no constants any more."""
    constants = Constants.of(kept)
    classes: set[int] = set()
    for node in kept.labels.graph.nodes():
        if node.op in OUTPUT_AXIS and node.name not in kept.labels.separate:
            for _, value in node.values():
                classes |= constants.varying(value)
        classes |= constants.contracted(node)
    unread = set(np.flatnonzero(_unread(kept.labels, kept.classes)).tolist())
    return sorted(classes - unread)


def _nonzero(labels: ChannelLabels, name: str, axis: int) -> np.ndarray:
    weight = labels.graph.parameter(name)
    return (weight != 0).movedim(axis, 0).reshape(weight.shape[axis], -1).any(1).numpy()


def _count(classes: Labels) -> int:
    return int(classes.max()) + 1 if len(classes) else 0
