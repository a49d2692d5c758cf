"""How layers and normalizations hand channel labels on."""

from __future__ import annotations

import numpy as np

from hwopt.graph import Node, Parameter, Value
from hwopt.passes.channels.labels import ChannelLabels, Kept, Labels, along
from hwopt.passes.channels.removal import WEIGHT_NORM


def convolution(labels: ChannelLabels, node: Node) -> None:
    """Read the input's channels, make new ones; groups are narrowed alike or go as a whole."""
    weight = _weight(labels, node)
    if weight is None:
        labels.barrier(node, f"the weight of {node.name} is computed")
        return
    channels_out, channels_in, *_ = labels.graph.parameter(weight).shape
    groups = node.attributes["groups"]
    axis = _channel_axis(labels, node, weight)
    read = labels.read(node.input, axis, node)
    if groups == 1:
        written = labels.fresh(channels_out)
        _cut(labels, node, 1, read)
        _cut(labels, node, 0, written, produces=True)
    elif channels_in == 1 or labels.whole_parts:
        whole = labels.couple(read.reshape(groups, -1), 0).reshape(-1)
        written = np.repeat(whole, channels_out // groups)
        _cut(labels, node, 0, written, produces=channels_in > 1)
        labels.separate.add(node.name)
        labels.rewrites[node.name] = lambda node, kept: node.with_attributes(
            groups=int(kept.of(whole).sum())
        )
    else:
        table = labels.divide(read, groups)
        written = np.tile(labels.fresh(channels_out // groups), groups)
        _cut(labels, node, 1, table[0])
        _cut(labels, node, 0, written, produces=True)
    _write(labels, node, axis, written)


def transposed_convolution(labels: ChannelLabels, node: Node) -> None:
    """As ``convolution``; the weight has the input's channels first."""
    weight = _weight(labels, node)
    if weight is None or node.attributes["groups"] != 1:
        labels.barrier(node, f"{node.name} is grouped, or its weight is computed")
        return
    axis = _channel_axis(labels, node, weight)
    written = labels.fresh(labels.graph.parameter(weight).shape[1])
    _cut(labels, node, 0, labels.read(node.input, axis, node))
    _cut(labels, node, 1, written, produces=True)
    _write(labels, node, axis, written)


def linear(labels: ChannelLabels, node: Node) -> None:
    """Read the last dimension of the input, make a new one."""
    weight = _weight(labels, node)
    if weight is None:
        labels.barrier(node, f"the weight of {node.name} is computed")
        return
    last = len(node.output.shape) - 1
    written = labels.fresh(labels.graph.parameter(weight).shape[0])
    _cut(labels, node, 0, written, produces=True)
    known = labels.values.get(node.input)
    if known is not None and known.shape[last] == 1 < known.size:
        # It mixes another dimension, such as tokens, for every channel by itself.
        labels.pin(written, f"{node.name} mixes another dimension than that of the channels")
        labels.separate.add(node.name)
        labels.write(node, known)
        return
    _cut(labels, node, 1, labels.read(node.input, last, node))
    _write(labels, node, last, written)


def embedding(labels: ChannelLabels, node: Node) -> None:
    """Make the embedding's width; rows are chosen by indices, so all of them stay."""
    weight = node.parameter("weight")
    if weight is None:
        labels.barrier(node, f"the weight of {node.name} is computed")
        return
    rows, width = labels.graph.parameter(weight).shape
    all_rows = labels.fresh(rows)
    labels.pin(all_rows, f"{node.name} chooses them by index")
    labels.parameter(weight, 0, all_rows)
    written = labels.fresh(width)
    labels.parameter(weight, 1, written, produces=True)
    labels.write(node, along(written, -1, len(node.output.shape)))


def per_channel_norm(labels: ChannelLabels, node: Node) -> None:
    """Batch and instance normalization: every channel by itself."""
    if _is_computed(labels, node):
        return
    read = labels.read(node.input, 1, node)
    for _, name in node.parameters():
        labels.parameter(name, 0, read)
    labels.write(node, along(read, 1, len(node.output.shape)))


def group_norm(labels: ChannelLabels, node: Node) -> None:
    """Groups are narrowed alike or go as a whole; the statistics are of what is left."""
    if _is_computed(labels, node):
        return
    groups = node.attributes["num_groups"]
    if groups == labels.shape(node.input)[1] and _hands_on_parts(labels, node):
        return
    read = labels.read(node.input, 1, node)
    table = labels.divide(read, groups)
    for _, name in node.parameters():
        labels.parameter(name, 0, read)
    labels.write(node, along(read, 1, len(node.output.shape)))
    if labels.whole_parts:
        labels.rewrites[node.name] = lambda node, kept: node.with_attributes(
            num_groups=int(kept.of(table[:, 0]).sum())
        )


def _hands_on_parts(labels: ChannelLabels, node: Node) -> bool:
    """Hand on channels that lie within what is normalized; say whether there are such.

    ``GroupNorm`` is exported as groups of channels that are normalized one by one: all of them
    become narrower alike.
    """
    known = labels.values.get(node.input)
    inner = [] if known is None else [d for d in range(2, known.ndim) if known.shape[d] > 1]
    if known is None or not inner or labels.whole_parts:
        return False
    labels.write(node, labels.couple(known, inner[-1]))
    return True


def layer_norm(labels: ChannelLabels, node: Node) -> None:
    """The statistics are of what is left."""
    value = node.input
    known = labels.values.get(value)
    if known is None or _is_computed(labels, node):
        return
    rank, normalized = known.ndim, len(node.attributes["normalized_shape"])
    varying = [d for d in range(rank) if known.shape[d] > 1]
    if not varying or varying[-1] < rank - normalized:
        labels.write(node, known)  # every channel by itself
        return
    axis = varying[-1]
    read = labels.read(value, axis, node)
    for _, name in node.parameters():
        labels.parameter(name, axis - rank + normalized, read)
    labels.write(node, along(read, axis, rank))

    def rewrite(node: Node, kept: Kept) -> Node:
        sizes = [kept.size(value, d) for d in range(rank - normalized, rank)]
        return node.with_attributes(normalized_shape=tuple(sizes))

    labels.rewrites[node.name] = rewrite


def _weight(labels: ChannelLabels, node: Node) -> str | None:
    """Return the parameter that has the shape of a layer's weight; None if there is none.

    Of a weight that is normalized it is the direction.
    """
    norm = _weight_norm(labels, node)
    return node.parameter("weight") if norm is None else norm.parameter("v")


def _weight_norm(labels: ChannelLabels, node: Node) -> Node | None:
    """Return the node that normalizes a layer's weight."""
    operand = node.operands["weight"]
    if not isinstance(operand, Value):
        return None
    maker = labels.graph.producer(operand)
    parts = [maker.parameter(role) for role in ("v", "g")] if maker.op == WEIGHT_NORM else [None]
    return None if None in parts or len(labels.graph.users(maker.name)) > 1 else maker


def _cut(
    labels: ChannelLabels, node: Node, axis: int, slices: Labels, *, produces: bool = False
) -> None:
    """State that slices of a layer's weight belong to channels, and those of its lengths."""
    weight, norm = _weight(labels, node), _weight_norm(labels, node)
    assert weight is not None
    labels.parameter(weight, axis, slices, produces=produces)
    if norm is not None and norm.attributes["dim"] == axis:
        lengths = norm.parameter("g")
        assert lengths is not None
        labels.parameter(lengths, axis, slices)


def _is_computed(labels: ChannelLabels, node: Node) -> bool:
    """Stop at a normalization whose weights or statistics are results of other nodes."""
    computed = any(role != "input" for role, _ in node.values())
    if computed:
        labels.barrier(node, f"the weight or bias of {node.name} is computed")
    return computed


def _channel_axis(labels: ChannelLabels, node: Node, weight: str) -> int:
    """Return 1, or 0 for an input without a batch."""
    return len(node.output.shape) - (labels.graph.parameter(weight).dim() - 1)


def _write(labels: ChannelLabels, node: Node, axis: int, written: Labels) -> None:
    bias = node.operands.get("bias")
    if isinstance(bias, Parameter):
        labels.parameter(bias.name, 0, written)
    elif isinstance(bias, Value):
        labels.equate(labels.read(bias, 0, node), written)
    labels.write(node, along(written, axis, len(node.output.shape)))
