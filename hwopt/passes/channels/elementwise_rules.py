"""How operators that keep channels apart hand their labels on: elementwise, pooling, reductions."""

from __future__ import annotations

from collections.abc import Callable

from hwopt.graph import Node, Parameter
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
        return
    first = next(iter(known.values()))
    axes = _varying(first)
    if any(_varying(array) != axes for array in known.values()):
        labels.barrier(node, f"{node.name} ({node.op}) combines channels of several kinds")
        return
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
    """Mean, sum or maximum over other dimensions than the channels."""
    known = labels.values.get(node.input)
    if known is None:
        return
    given = node.attributes["dim"]
    given = (given,) if isinstance(given, int) else given
    dims = {d % known.ndim for d in given or range(known.ndim)}
    if dims & set(_varying(known)):
        labels.barrier(node, f"{node.name} ({node.op}) reduces over the channels")
        return
    kept = [d for d in range(known.ndim) if d not in dims]
    reduced = known if node.attributes["keepdim"] else known.reshape([known.shape[d] for d in kept])
    for output in range(len(node.outputs)):
        labels.write(node, reduced, output)


def softmax(labels: ChannelLabels, node: Node) -> None:
    """Softmax over another dimension than the channels."""
    known = labels.values.get(node.input)
    if known is None:
        return
    if node.attributes["dim"] % known.ndim in _varying(known):
        labels.barrier(node, f"{node.name} ({node.op}) is taken over the channels")
        return
    labels.write(node, known)


def _aligned(labels: Labels, rank: int) -> Labels:
    return labels.reshape((1,) * (rank - labels.ndim) + labels.shape)


def _varying(labels: Labels) -> list[int]:
    return [axis for axis, size in enumerate(labels.shape) if size > 1]
