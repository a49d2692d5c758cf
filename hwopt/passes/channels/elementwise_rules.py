"""How operators that keep channels apart hand their labels on: elementwise, pooling, reductions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwopt.graph import Node, Parameter, Value
from hwopt.passes.channels.labels import ChannelLabels, Labels


def hand_on(labels: ChannelLabels, node: Node) -> None:
    """Elementwise on one value, or on a parameter."""
    operand = next(operand for _, operand in node.flat_operands())
    if isinstance(operand, Parameter):
        labels.write(node, labels.of_parameter(operand.name))
    elif node.input in labels.values:
        labels.write(node, labels.values[node.input])


def elementwise(labels: ChannelLabels, node: Node) -> None:
    """Sum, product and the like with broadcasting: equal channels go together."""
    rank = len(node.output.shape)
    known = {v: _aligned(labels.values[v], rank) for _, v in node.values() if v in labels.values}
    # One label for a whole value cannot go: there would be nothing left.
    known = {value: array for value, array in known.items() if array.size > 1}
    if not known:
        _table(labels, node)
        return
    axes = _common_axes(labels, known)
    if not axes:
        labels.barrier(node, f"{node.name} ({node.op}) combines channels of several kinds")
        return
    others = [labels.graph.spec(o).at() for _, o in node.flat_operands() if o not in known]
    if len(axes) > 1 and any(_covers(shape, axes, rank) for shape in others):
        known = {value: _along_one(labels, array) for value, array in known.items()}
        axes = _varying(next(iter(known.values())))
    first = next(iter(known.values()))
    for array in known.values():
        labels.equate(first, array)
    for operand in {o for _, o in node.flat_operands()} - known.keys():
        shape = labels.graph.spec(operand).at()
        for axis in axes:
            own = axis - (rank - len(shape))
            if own < 0 or shape[own] == 1:
                continue  # broadcast along the channels: the same for all of them
            vector = labels.couple(first, axis).reshape(-1)
            if isinstance(operand, Parameter):
                labels.parameter(operand.name, own, vector)
            else:
                labels.equate(labels.read(operand, own, node), vector)
    labels.write(node, first)


def _covers(shape: tuple[int, ...], axes: list[int], rank: int) -> bool:
    """Say whether a table has numbers along some of the axes, and one for all along others."""
    sizes = [shape[axis - rank] if rank - axis <= len(shape) else 1 for axis in axes]
    return max(sizes) > 1 and min(sizes) == 1


def _common_axes(labels: ChannelLabels, known: dict[Value, Labels]) -> list[int]:
    """Return the axes along which all labels change; those that change along more do so no more.

    Such as heads and their widths, beside a table that all heads share.
    """
    axes = [_varying(array) for array in known.values()]
    if all(own == axes[0] for own in axes):
        return axes[0]
    largest = max(axes, key=len)
    if labels.whole_parts and len(largest) == 2:
        common = largest[:1]
        for value in [value for value, own in known.items() if own.shape[common[0]] == 1]:
            labels.pin(known.pop(value), "all heads share them")
    else:
        common = [axis for axis in largest if all(axis in own for own in axes)]
    if len(common) != 1:
        return []
    for value, array in known.items():
        known[value] = labels.couple(array, common[0])
    return common


def _table(labels: ChannelLabels, node: Node) -> None:
    """Label what is computed of a parameter, such as of the rates of rotary positions."""
    rank = len(node.output.shape)
    for operand in {o for _, o in node.flat_operands() if isinstance(o, Parameter)}:
        shape = labels.graph.parameter(operand.name).shape
        axes = [axis + rank - len(shape) for axis, size in enumerate(shape) if size > 1]
        others = [labels.graph.spec(o).at() for _, o in node.flat_operands() if o != operand]
        varying = {rank - len(s) + d for s in others for d, size in enumerate(s) if size > 1}
        if len(axes) == 1 and axes[0] not in varying:
            labels.write(node, _aligned(labels.of_parameter(operand.name), rank))


def of_images(labels: ChannelLabels, node: Node) -> None:
    """Several images pixel by pixel, with neighbours of theirs."""
    known = [labels.values[value] for _, value in node.values() if value in labels.values]
    if any(axis != 1 for array in known if array.ndim == 4 for axis in _varying(array)):
        labels.barrier(node, f"{node.name} ({node.op}) works across the channels")
    else:
        elementwise(labels, node)


def parametric_relu(labels: ChannelLabels, node: Node) -> None:
    """``prelu``: one slope for all channels, or one a channel."""
    if node.input not in labels.values:
        return
    slope = node.parameter("weight")
    if slope is None:
        labels.barrier(node, f"the slope of {node.name} is computed")
    elif labels.graph.parameter(slope).numel() == 1:
        hand_on(labels, node)
    else:
        axis = min(1, len(labels.shape(node.input)) - 1)
        labels.parameter(slope, 0, labels.read(node.input, axis, node))
        hand_on(labels, node)


def spatial(dimensions: int) -> Callable[[ChannelLabels, Node], None]:
    """Return the rule of pooling and resizing over the last dimensions."""

    def rule(labels: ChannelLabels, node: Node) -> None:
        known = labels.values.get(node.input)
        if known is None:
            return
        if any(axis >= known.ndim - dimensions for axis in _varying(known)):
            labels.barrier(node, f"{node.name} ({node.op}) works across the channels")
            return
        for output in range(len(node.outputs)):
            labels.write(node, known, output)

    return rule


def reduction(labels: ChannelLabels, node: Node) -> None:
    """Mean, sum, norm or maximum; over the channels it is that of what is left."""
    known = labels.values.get(node.input)
    if known is None:
        return
    given = node.attributes["dim"]
    given = (given,) if isinstance(given, int) else given
    dims = {d % known.ndim for d in given or range(known.ndim)}
    if dims & set(_varying(known)):
        known = _along_one(labels, known)
    if dims & set(_varying(known)):
        return
    kept = [d for d in range(known.ndim) if d not in dims]
    reduced = known if node.attributes["keepdim"] else known.reshape([known.shape[d] for d in kept])
    for output in range(len(node.outputs)):
        labels.write(node, reduced, output)


def gated(labels: ChannelLabels, node: Node) -> None:
    """``glu``: one half of the channels is a gate for the other."""
    known = labels.values.get(node.input)
    if known is None:
        return
    axis = node.attributes["dim"] % known.ndim
    if known.shape[axis] == 1:
        labels.write(node, known)
        return
    first, second = np.split(known, 2, axis)
    labels.equate(first, second)
    labels.write(node, first)


def softmax(labels: ChannelLabels, node: Node) -> None:
    """Softmax over another dimension than the channels, such as over branches of all of them."""
    known = labels.values.get(node.input)
    if known is None:
        return
    dim = node.attributes["dim"] % known.ndim
    if dim in _varying(known):
        known = _along_one(labels, known)
    if dim in _varying(known):
        labels.barrier(node, f"{node.name} ({node.op}) is taken over the channels")
        return
    labels.write(node, known)


def _along_one(labels: ChannelLabels, known: Labels) -> Labels:
    """Let labels change along one dimension only: the last, or of whole parts that before it."""
    varying = _varying(known)
    if len(varying) < 2:
        return known
    return labels.couple(known, varying[-2 if labels.whole_parts else -1])


def _aligned(labels: Labels, rank: int) -> Labels:
    return labels.reshape((1,) * (rank - labels.ndim) + labels.shape)


def _varying(labels: Labels) -> list[int]:
    return [axis for axis, size in enumerate(labels.shape) if size > 1]
