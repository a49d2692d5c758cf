"""How operators that move elements, and compute nothing, hand channel labels on.

Each of them is run by torch on the labels themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hwopt.graph import Batch, Dimension, Node, Operand, Parameter, Value
from hwopt.graph.module import Operation
from hwopt.passes.channels.labels import ChannelLabels, Kept, Labels, along


def move(labels: ChannelLabels, node: Node) -> None:
    """Move labels as the operator moves elements."""
    operand = _moved(node)
    if isinstance(operand, Value) and operand not in labels.values:
        return
    given = _labels_of(labels, operand)
    try:
        results = _run(labels, node, operand, given)
    except (RuntimeError, IndexError, ValueError):
        results = []
    ranks = [len(spec.shape) for spec in node.outputs]
    if [moved.ndim for moved in results] != ranks:
        # Such as a squeeze that takes a batch of one away, or an index into the batch.
        labels.pin(given, f"{node.name} ({node.op}) does something else with a batch of one")
        return
    for output, moved in enumerate(results):
        labels.write(node, moved, output)


def reshape(labels: ChannelLabels, node: Node) -> None:
    """As ``move``; the new shape is stated by an attribute."""
    move(labels, node)
    name = next(k for k in ("shape", "size", "sizes") if k in node.attributes)
    offset = node.attributes["dim"] if name == "sizes" else 0
    if offset < 0:
        offset += len(node.output.shape) - len(node.attributes[name]) + 1

    def rewrite(node: Node, kept: Kept) -> Node:
        sizes = tuple(
            _resized(size, kept.size(Value(node.name), offset + d))
            for d, size in enumerate(node.attributes[name])
        )
        return node.with_attributes(**{name: sizes})

    labels.rewrites[node.name] = rewrite


def expand(labels: ChannelLabels, node: Node) -> None:
    """As ``reshape``; what is the same for all channels, such as their norm, loses any of them."""
    reshape(labels, node)
    operand = _moved(node)
    if not isinstance(operand, Value) or operand in labels.values:
        return
    wanted = node.output.shape
    given = labels.graph.spec(operand).at()
    given = (1,) * (len(wanted) - len(given)) + given
    spread = [d for d, n in enumerate(given) if n == 1 and isinstance(wanted[d], int | np.integer)]
    spread = [d for d in spread if wanted[d] != 1]
    if len(spread) == 1:
        size = node.output.at()[spread[0]]
        labels.write(node, along(labels.fresh(size), spread[0], len(wanted)))


def expand_as(labels: ChannelLabels, node: Node) -> None:
    """As ``move``; what is the same for all channels of the other has the labels of the other."""
    operand, other = (operand for _, operand in node.flat_operands())
    known = labels.values.get(other) if isinstance(other, Value) else None
    if isinstance(operand, Value) and operand not in labels.values and known is not None:
        given = labels.graph.spec(operand).at()
        given = (1,) * (known.ndim - len(given)) + given
        if all(given[d] == 1 for d in range(known.ndim) if known.shape[d] > 1):
            labels.write(node, known)
        return
    move(labels, node)


def split(labels: ChannelLabels, node: Node) -> None:
    """As ``move``; parts of unequal size become a split by sizes."""
    move(labels, node)
    dim, count = node.attributes["dim"], len(node.outputs)

    def rewrite(node: Node, kept: Kept) -> Node:
        before = tuple(spec.at()[dim] for spec in node.outputs)
        sizes = tuple(kept.size(Value(node.name, output), dim) for output in range(count))
        if sizes == before:
            return node
        operands = {"self": node.input}
        attributes = {"split_sizes": sizes, "dim": dim}
        return Node(node.name, "split_with_sizes", operands, attributes, node.outputs)

    labels.rewrites[node.name] = rewrite


def take_slice(labels: ChannelLabels, node: Node) -> None:
    """As ``move``; start and end move by the channels that go before them."""
    value, dim, step = node.input, node.attributes["dim"], node.attributes["step"]
    known = labels.values.get(value)
    if known is None:
        return
    move(labels, node)
    if known.shape[dim] == 1:
        return
    size = labels.shape(value)[dim]
    start, stop, _ = slice(node.attributes["start"], node.attributes["end"]).indices(size)
    if step != 1:
        if size % step or start >= step or stop < size:
            labels.pin(known, f"{node.name} takes every {step}th of them")
            return
        # Neighbours go together, such as the two numbers that a rotary position turns.
        for offset in range(1, step):
            every = [slice(None)] * known.ndim
            every[dim] = slice(offset, None, step)
            first = [slice(None)] * known.ndim
            first[dim] = slice(0, None, step)
            labels.equate(known[tuple(first)], known[tuple(every)])
        return

    def rewrite(node: Node, kept: Kept) -> Node:
        others = tuple(d for d in range(known.ndim) if d != dim % known.ndim)
        stays = np.atleast_1d(kept.of(known).any(axis=others))
        left = np.concatenate([[0], np.cumsum(stays)])
        return node.with_attributes(start=int(left[start]), end=int(left[stop]))

    labels.rewrites[node.name] = rewrite


def select(labels: ChannelLabels, node: Node) -> None:
    """As ``move``, for one index or all of them: the dimension keeps its size."""
    known = labels.values.get(node.input)
    if known is None:
        return
    dim = node.attributes["dim"] % known.ndim
    move(labels, node)
    if known.shape[dim] == known.size > 1:
        labels.pin(known, f"{node.name} chooses them by index")
    else:
        labels.equate(known.take([0], axis=dim), known)


def concat(labels: ChannelLabels, node: Node) -> None:
    """Join channels, or make them equal where another dimension is joined."""
    operands = [operand for _, operand in node.flat_operands()]
    tracked = [labels.values[o] for o in operands if isinstance(o, Value) and o in labels.values]
    if not any(isinstance(operand, Value) for operand in operands):
        vectors = [_vector(labels, operand, 0, node) for operand in operands]
        labels.write(node, np.concatenate(vectors))
        return
    if not tracked:
        return
    dim = node.attributes["dim"] % len(node.output.shape)
    inner = [d - (node.op == "stack" and d > dim) for d in range(len(node.output.shape))]
    joined = dim if node.op == "concat" else None
    axes = {d for known in tracked for d in range(known.ndim) if known.shape[d] > 1}
    if len(axes) > 1 and len(tracked) == len(operands):
        values = [operand for operand in operands if isinstance(operand, Value)]
        arrays = [np.broadcast_to(labels.values[v], labels.shape(v)) for v in values]
        labels.write(node, (np.concatenate if node.op == "concat" else np.stack)(arrays, dim))
        return
    if len(axes) > 1 or (joined in axes and any(isinstance(o, Parameter) for o in operands)):
        labels.barrier(node, f"{node.name} joins channels of several kinds")
        return
    axis = axes.pop() if axes else joined
    if axis is None:
        labels.barrier(node, f"{node.name} stacks single channels")
        return
    vectors = [_vector(labels, operand, axis, node) for operand in operands]
    if axis == joined:
        labels.write(node, along(np.concatenate(vectors), dim, len(node.output.shape)))
        return
    for vector in vectors[1:]:
        labels.equate(vectors[0], vector)
    outer = next(d for d, i in enumerate(inner) if i == axis and (d != dim or node.op == "concat"))
    labels.write(node, along(vectors[0], outer, len(node.output.shape)))


def pad(labels: ChannelLabels, node: Node) -> None:
    """Channels that are added have labels of their own, and go with what they are added to."""
    known = labels.values.get(node.input)
    if known is None:
        return
    varying = [d for d in range(known.ndim) if known.shape[d] > 1]
    amounts = node.attributes["pad"]
    padded = {known.ndim - 1 - i // 2 for i, amount in enumerate(amounts) if amount}
    if not padded & set(varying):
        labels.write(node, known)
        return
    (axis,) = varying if len(varying) == 1 else (None,)
    if axis is None or node.attributes["mode"] != "constant" or min(amounts) < 0:
        labels.barrier(node, f"{node.name} pads or crops the channels")
        return
    position = 2 * (known.ndim - 1 - axis)
    before, after = (labels.fresh(amounts[position + side]) for side in (0, 1))
    written = np.concatenate([before, known.reshape(-1), after])
    labels.write(node, along(written, axis, known.ndim))

    def rewrite(node: Node, kept: Kept) -> Node:
        changed = list(node.attributes["pad"])
        changed[position : position + 2] = (int(kept.of(e).sum()) for e in (before, after))
        return node.with_attributes(pad=tuple(changed))

    labels.rewrites[node.name] = rewrite


def roll(labels: ChannelLabels, node: Node) -> None:
    """Channels keep their places, unless it is them that are rolled or flipped."""
    known = labels.values.get(node.input)
    if known is None:
        return
    moved = {d % known.ndim for d in node.attributes["dims"]} or set(range(known.ndim))
    if any(known.shape[d] > 1 for d in moved):
        labels.barrier(node, f"{node.name} moves the channels")
    else:
        labels.write(node, known)


def channel_shuffle(labels: ChannelLabels, node: Node) -> None:
    """Groups are narrowed alike or go as a whole."""
    if node.input not in labels.values:
        return
    table = labels.divide(labels.read(node.input, 1, node), node.attributes["groups"])
    move(labels, node)
    if labels.whole_parts:
        labels.rewrites[node.name] = lambda node, kept: node.with_attributes(
            groups=int(kept.of(table[:, 0]).sum())
        )


def pixel_shuffle(labels: ChannelLabels, node: Node) -> None:
    """The channels that become the pixels of one channel go together."""
    if node.input not in labels.values:
        return
    read = labels.read(node.input, 1, node)
    pixels = labels.couple(read.reshape(-1, node.attributes["upscale_factor"] ** 2), 0)
    labels.write(node, along(pixels.reshape(-1), 1, len(node.output.shape)))


def _moved(node: Node) -> Operand:
    return next(operand for _, operand in node.flat_operands())


def _labels_of(labels: ChannelLabels, operand: Operand) -> Labels:
    """Return the labels; a parameter gets fresh ones."""
    if isinstance(operand, Value):
        return labels.values[operand]
    return labels.of_parameter(operand.name)


def _run(labels: ChannelLabels, node: Node, operand: Operand, given: Labels) -> list[Labels]:
    """Run the operator on labels in place of numbers, for a batch of one."""
    full = np.broadcast_to(given, labels.graph.spec(operand).at())
    role = next(role for role, _ in node.flat_operands())
    # In float64 because not every operator takes integers; it holds every label exactly.
    numbers: dict[str, Any] = {role: torch.from_numpy(full.astype(np.float64))}
    for other, value in list(node.flat_operands())[1:]:
        numbers[other] = torch.empty(labels.graph.spec(value).at())
    results = Operation(node).eval()(numbers, 1)
    listed = results if isinstance(results, list | tuple) else [results]
    return [result.numpy().astype(np.int64) for result in listed]


def _vector(labels: ChannelLabels, operand: Operand, axis: int, node: Node) -> Labels:
    if isinstance(operand, Value):
        return labels.read(operand, axis, node)
    written = labels.fresh(labels.graph.parameter(operand.name).shape[axis])
    labels.parameter(operand.name, axis, written)
    return written


def _resized(size: Dimension, kept: int) -> Dimension:
    """Return a size in a shape attribute; -1 means what is left."""
    if isinstance(size, Batch):
        return Batch(kept)
    return kept if size >= 0 else size
