"""How products of two values hand channel labels on: matmul and attention.

The head dimension is contracted between query and key, and heads are a batch dimension of both
products, so either every head is narrowed alike or whole heads go.
"""

from __future__ import annotations

import math

import numpy as np

from hwopt.graph import Node, Value
from hwopt.passes.channels.labels import ChannelLabels, Kept, Labels, along


def matmul(labels: ChannelLabels, node: Node) -> None:
    """``matmul`` and ``bmm``: contracted channels go together, the others are handed on."""
    operands = [operand for _, operand in node.flat_operands()]
    if any(not isinstance(o, Value) or len(labels.shape(o)) < 2 for o in operands):
        labels.barrier(node, f"{node.name} multiplies by a parameter or a vector")
        return
    first, second = (o for o in operands if isinstance(o, Value))
    rank = len(node.output.shape)
    one, two = _channel_axis(labels, first), _channel_axis(labels, second)
    if one == -1 or two == -2:
        _tie(labels, node, [(first, -1), (second, -2)])
    handed = []
    for axis in {one, two} - {None}:
        assert axis is not None
        if axis < -2:
            _tie(labels, node, [(first, axis), (second, axis)])
    if one is not None and one != -1:
        handed.append((one, _vector(labels, first, one, node)))
    if two is not None and two != -2 and not (handed and two < -2):
        handed.append((two, _vector(labels, second, two, node)))
    if len(handed) > 1:
        labels.barrier(node, f"{node.name} ({node.op}) multiplies channels of two kinds")
        return
    for axis, vector in handed:
        labels.write(node, along(vector, axis, rank))


def attention(labels: ChannelLabels, node: Node) -> None:
    """``scaled_dot_product_attention``; its scale stays that of the full width."""
    operands = [node.operands[role] for role in ("query", "key", "value")]
    tensors = [operand for operand in operands if isinstance(operand, Value)]
    if len(tensors) < len(operands):
        labels.barrier(node, f"{node.name} reads a parameter")
        return
    query, key, value = tensors
    axes = [_channel_axis(labels, tensor) for tensor in tensors]
    if -2 in axes or len(labels.values.keys() & set(tensors)) < len(tensors):
        labels.barrier(node, f"the heads of {node.name} could not be followed")
        return
    heads = next((axis for axis in axes if axis is not None and axis < -2), None)
    if heads is not None:
        written = (heads, _heads(labels, node, tensors, heads))
    else:
        _tie(labels, node, [(query, -1), (key, -1)])
        written = (-1, _vector(labels, value, -1, node))
    mask = node.operands.get("attn_mask")
    if mask is not None and heads is not None and labels.graph.spec(mask).at()[heads:][:1] != (1,):
        labels.pin(written[1], f"every head of {node.name} has a mask of its own")
    if isinstance(mask, Value) and mask in labels.values:
        labels.pin(labels.values[mask], f"they mask {node.name}")
    labels.write(node, along(written[1], written[0], len(node.output.shape)))
    width = labels.shape(query)[-1]

    def rewrite(node: Node, kept: Kept) -> Node:
        if node.attributes["scale"] is not None or kept.size(query, -1) == width:
            return node
        return node.with_attributes(scale=1 / math.sqrt(width))

    labels.rewrites[node.name] = rewrite


def _heads(labels: ChannelLabels, node: Node, tensors: list[Value], axis: int) -> Labels:
    """Let heads of query, key and value go together; return those of the result.

    With grouped queries several heads of the query share one of key and value.
    """
    query, key, value = (_vector(labels, tensor, axis, node) for tensor in tensors)
    for shared in (key, value):
        labels.equate(query, np.repeat(shared, len(query) // len(shared)))
    return query


def _channel_axis(labels: ChannelLabels, value: Value) -> int | None:
    """Return the axis, counted from the end, along which a value's labels change.

    Labels that change along heads and along their width are made to change along one of them.
    """
    known = labels.values.get(value)
    if known is None:
        return None
    varying = [axis for axis, size in enumerate(known.shape) if size > 1]
    if not varying:
        return None
    if len(varying) > 1:
        axis = varying[-2 if labels.whole_parts else -1]
        labels.values[value] = labels.couple(known, axis)
        varying = [axis]
    return varying[0] - known.ndim


def _tie(labels: ChannelLabels, node: Node, ends: list[tuple[Value, int]]) -> None:
    """Let the channels of several values go together; broadcast dimensions have none."""
    sizes = [labels.shape(value)[axis] for value, axis in ends if _has_axis(labels, value, axis)]
    vectors = [
        _vector(labels, value, axis, node)
        for value, axis in ends
        if _has_axis(labels, value, axis) and labels.shape(value)[axis] == max(sizes)
    ]
    for vector in vectors[1:]:
        labels.equate(vectors[0], vector)


def _has_axis(labels: ChannelLabels, value: Value, axis: int) -> bool:
    return -axis <= len(labels.shape(value))


def _vector(labels: ChannelLabels, value: Value, axis: int, node: Node) -> Labels:
    return labels.read(value, axis + len(labels.shape(value)), node)
