"""``prune-channels``: remove whole channels, for real."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from hwopt.errors import HwoptError
from hwopt.passes.base import Context, Note, Pass, PassResult
from hwopt.passes.channel_rules import label_channels
from hwopt.passes.channels import ChannelGroup, ChannelLabels, groups

if TYPE_CHECKING:
    from hwopt.graph import Graph


@dataclass(frozen=True)
class PruneChannels(Pass):
    """Remove the channels with the smallest weights from every group of coupled layers.

    Channels that a residual sum, a concat, a depthwise convolution or a flatten ties together
    are scored together and go together. Nothing is masked: the tensors become smaller.

    Options:
        ratio: the share of channels to remove from each group, in [0, 1).
        criterion: ``l1`` or ``l2`` norm of the weights that produce the channel.
        multiple: the number of channels kept is rounded up to a multiple of this, where the
            group is as large; a target's vector length makes pruned layers fast.
        minimum: no group keeps fewer channels than this.
        layers: only groups with a layer whose name begins with one of these; all if empty.

    Raises:
        HwoptError: if an option is out of range.

    >>> str(PruneChannels(ratio=0.3, multiple=8))
    'prune-channels{ratio=0.3,multiple=8}'
    """

    name = "prune-channels"

    ratio: float = 0.5
    criterion: Literal["l1", "l2"] = "l2"
    multiple: int = 1
    minimum: int = 1
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.ratio < 1:
            raise HwoptError(f"pass {self.name}: ratio must be in [0, 1), not {self.ratio}")
        for option in ("multiple", "minimum"):
            if getattr(self, option) < 1:
                message = f"pass {self.name}: {option} must be at least 1"
                raise HwoptError(f"{message}, not {getattr(self, option)}")

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with the weakest channels of every group removed."""
        labels = label_channels(graph)
        classes, pinned = labels.classes()
        scores = self._scores(graph, labels, classes)
        removed: set[int] = set()
        notes = []
        for group in filter(self._is_meant, groups(labels.slices, classes)):
            free = [c for c in group.classes if c not in pinned]
            if not free:
                reason = f"not prunable: {pinned[group.classes[0]]}"
                notes.append(Note(_layers(group), reason, changed=False))
                continue
            keep = self._channels_to_keep(len(free))
            weakest = sorted(free, key=lambda c: scores[c])[: len(free) - keep]
            removed.update(weakest)
            left = len(group.classes) - len(weakest)
            message = f"{len(group.classes)} to {left} channels"
            if not weakest:
                message = f"all {left} channels stay: ratio, multiple and minimum ask for them"
            notes.append(Note(_layers(group), message, changed=bool(weakest)))
        if not notes:
            notes.append(Note(",".join(self.layers), "no layer has such a name", changed=False))
        if not removed:
            return PassResult(graph, modified=False, notes=tuple(notes))
        return PassResult(_remove(graph, labels, classes, removed), True, tuple(notes))

    def candidates(self, graph: Graph, context: Context) -> list[Pass]:
        """Return this pass with those of the ratios 0.1, 0.2, ... 0.8 that remove something."""
        instances = [dataclasses.replace(self, ratio=tenths / 10) for tenths in range(1, 9)]
        return [one for one in instances if one.apply(graph, context).modified]

    def _is_meant(self, group: ChannelGroup) -> bool:
        return not self.layers or any(layer.startswith(self.layers) for layer in group.layers)

    def _channels_to_keep(self, channels: int) -> int:
        # The small subtraction keeps 10 x (1 - 0.7) from becoming 4.
        wanted = math.ceil(channels * (1 - self.ratio) - 1e-9)
        rounded = math.ceil(wanted / self.multiple) * self.multiple
        return min(channels, max(rounded, self.minimum, 1))

    def _scores(self, graph: Graph, labels: ChannelLabels, classes: np.ndarray) -> np.ndarray:
        """Return the norm of all weights that produce a channel, for every class."""
        power = 1 if self.criterion == "l1" else 2
        scores = np.zeros(int(classes.max()) + 1 if len(classes) else 0)
        for entry in labels.slices:
            if entry.produces:
                weight = graph.parameter(entry.parameter).double().abs() ** power
                others = [d for d in range(weight.dim()) if d != entry.axis]
                np.add.at(scores, classes[entry.labels], weight.sum(dim=others).numpy())
        return scores


def _layers(group: ChannelGroup) -> str:
    return " + ".join(layer.removesuffix(".weight") for layer in group.layers)


def _remove(graph: Graph, labels: ChannelLabels, classes: np.ndarray, removed: set[int]) -> Graph:
    """Cut every parameter, and correct the attributes that state a number of channels."""
    result = graph.copy()
    for name, axis, kept in {
        (s.parameter, s.axis): (s.parameter, s.axis, ~np.isin(classes[s.labels], list(removed)))
        for s in labels.slices
    }.values():
        if not kept.all():
            index = torch.from_numpy(np.flatnonzero(kept))
            result.set_parameter(name, result.parameter(name).index_select(axis, index))
    for name in labels.depthwise:
        node = result.node(name)
        _, before = labels.values[node.input]
        groups_left = int((~np.isin(classes[before], list(removed))).sum())
        result.replace_node(node.with_attributes(groups=groups_left))
    for name in labels.flattened:
        node = result.node(name)
        if node.op == "reshape":
            shape = node.attributes["shape"]
            result.replace_node(node.with_attributes(shape=(shape[0], -1)))
    result.infer_shapes()
    return result
