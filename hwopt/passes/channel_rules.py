"""How each operator hands channel labels on. What has no rule here is a barrier."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from hwopt.graph import Node, Parameter, Value
from hwopt.passes.channels import ChannelLabels

if TYPE_CHECKING:
    from hwopt.graph import Graph

_CHANNELS = 1


def label_channels(graph: Graph) -> ChannelLabels:
    """Walk the graph and label the channels of every value."""
    labels = ChannelLabels(graph)
    for node in graph.nodes():
        rule = _RULES.get(node.op)
        if rule is None:
            labels.barrier(node, f"{node.name} ({node.op}) has no rule for channels")
        else:
            rule(labels, node)
    for operand in graph.outputs.values():
        if isinstance(operand, Value) and operand in labels.values:
            labels.pin(labels.values[operand][1], "they are an output of the model")
    return labels


def _convolution(labels: ChannelLabels, node: Node) -> None:
    weight = node.parameter("weight")
    if weight is None:
        labels.barrier(node, f"the weight of {node.name} is computed")
        return
    read = labels.read(node.input, _CHANNELS, node)
    channels_out, channels_in = labels.graph.parameter(weight).shape[:2]
    if node.attributes["groups"] == 1:
        written = labels.fresh(channels_out)
        labels.parameter(weight, 1, read)
        labels.parameter(weight, 0, written, produces=True)
    elif node.attributes["groups"] == len(read) and channels_in == 1:
        written = np.repeat(read, channels_out // len(read))
        labels.parameter(weight, 0, written)
        labels.depthwise.add(node.name)
    else:
        labels.pin(read, f"{node.name} is a grouped convolution")
        return
    _bias(labels, node, written)
    labels.write(node, _CHANNELS, written)


def _transposed_convolution(labels: ChannelLabels, node: Node) -> None:
    weight = node.parameter("weight")
    if weight is None or node.attributes["groups"] != 1:
        labels.barrier(node, f"{node.name} is grouped, or its weight is computed")
        return
    written = labels.fresh(labels.graph.parameter(weight).shape[1])
    labels.parameter(weight, 0, labels.read(node.input, _CHANNELS, node))
    labels.parameter(weight, 1, written, produces=True)
    _bias(labels, node, written)
    labels.write(node, _CHANNELS, written)


def _linear(labels: ChannelLabels, node: Node) -> None:
    weight = node.parameter("weight")
    if weight is None:
        labels.barrier(node, f"the weight of {node.name} is computed")
        return
    last = len(node.output.shape) - 1
    labels.parameter(weight, 1, labels.read(node.input, last, node))
    written = labels.fresh(labels.graph.parameter(weight).shape[0])
    labels.parameter(weight, 0, written, produces=True)
    _bias(labels, node, written)
    labels.write(node, last, written)


def _bias(labels: ChannelLabels, node: Node, written: np.ndarray) -> None:
    bias = node.parameter("bias")
    if bias is not None:
        labels.parameter(bias, 0, written)


def _batch_norm(labels: ChannelLabels, node: Node) -> None:
    read = labels.read(node.input, _CHANNELS, node)
    for _, name in node.parameters():
        labels.parameter(name, 0, read)
    labels.write(node, _CHANNELS, read)


def _hand_on(labels: ChannelLabels, node: Node) -> None:
    """Elementwise on one value, or pooling over other dimensions."""
    if node.input in labels.values:
        axis, read = labels.values[node.input]
        labels.write(node, axis, read)


def _pool(labels: ChannelLabels, node: Node) -> None:
    labels.write(node, _CHANNELS, labels.read(node.input, _CHANNELS, node))


def _elementwise(labels: ChannelLabels, node: Node) -> None:
    """Sum or product with broadcasting: equal channels go together."""
    rank = len(node.output.shape)
    tracked = [v for _, v in node.values() if v in labels.values]
    if not tracked:
        return
    first_axis, first = labels.values[tracked[0]]
    from_end = first_axis - len(labels.graph.spec(tracked[0]).shape)
    width = node.output.at()[from_end]
    if len(first) != width:
        labels.barrier(node, f"{node.name} broadcasts the channels")
        return
    for _, operand in node.flat_operands():
        shape = labels.graph.spec(operand).at()
        axis = len(shape) + from_end
        if axis < 0 or shape[axis] == 1 != width:
            continue  # broadcast along the channels: the same for all of them
        if isinstance(operand, Parameter):
            labels.parameter(operand.name, axis, first)
        elif operand != tracked[0]:
            labels.equate(first, labels.read(operand, axis, node))
    labels.write(node, rank + from_end, first)


def _concat(labels: ChannelLabels, node: Node) -> None:
    operands = [operand for _, operand in node.flat_operands()]
    values = [operand for operand in operands if isinstance(operand, Value)]
    dim = int(node.attributes["dim"]) % len(node.output.shape)
    axes = {labels.values[v][0] for v in values if v in labels.values}
    if len(values) < len(operands) or axes != {dim}:
        labels.barrier(node, f"{node.name} joins another dimension or a parameter")
        return
    labels.write(node, dim, np.concatenate([labels.read(v, dim, node) for v in values]))


def _mean(labels: ChannelLabels, node: Node) -> None:
    if node.input not in labels.values:
        return
    axis, read = labels.values[node.input]
    rank = len(labels.graph.spec(node.input).shape)
    dims = {d % rank for d in node.attributes["dim"] or range(rank)}
    if axis in dims:
        labels.barrier(node, f"{node.name} averages over the channels")
        return
    kept = node.attributes["keepdim"]
    labels.write(node, axis if kept else axis - sum(d < axis for d in dims), read)


def _flatten(labels: ChannelLabels, node: Node) -> None:
    """``flatten(1)``, or a reshape or view that does the same."""
    shape, result = labels.graph.spec(node.input).at(), node.output.at()
    same = node.op == "flatten" or labels.graph.spec(node.input).shape[0] == node.output.shape[0]
    if not same or len(result) != 2 or result != (shape[0], math.prod(shape[1:])):
        labels.barrier(node, f"{node.name} ({node.op}) rearranges the channels")
        return
    read = labels.read(node.input, _CHANNELS, node)
    labels.flattened.add(node.name)
    labels.write(node, _CHANNELS, np.repeat(read, math.prod(shape[2:])))


def _permute(labels: ChannelLabels, node: Node) -> None:
    if node.input not in labels.values:
        return
    axis, read = labels.values[node.input]
    rank = len(node.output.shape)
    if node.op == "permute":
        order = [d % rank for d in node.attributes["dims"]]
    else:
        order = list(range(rank))
        first, second = (node.attributes[d] % rank for d in ("dim0", "dim1"))
        order[first], order[second] = order[second], order[first]
    labels.write(node, order.index(axis), read)


_RULES: dict[str, Callable[[ChannelLabels, Node], None]] = {
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv3d": _convolution,
    "conv_transpose2d": _transposed_convolution,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "concat": _concat,
    "mean": _mean,
    "flatten": _flatten,
    "reshape": _flatten,
    "permute": _permute,
    "transpose": _permute,
    **dict.fromkeys(("add", "sub", "mul", "div"), _elementwise),
    **dict.fromkeys(("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"), _pool),
    **dict.fromkeys(
        (
            "relu",
            "relu6",
            "hardtanh",
            "hardswish",
            "hardsigmoid",
            "leaky_relu",
            "sigmoid",
            "silu",
            "gelu",
            "tanh",
            "dropout",
        ),
        _hand_on,
    ),
}
