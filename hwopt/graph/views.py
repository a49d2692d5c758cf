"""Slices that take everything, and those that read what was just written there, are taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwopt.graph.types import Node, Operand, Value

if TYPE_CHECKING:
    from hwopt.graph.graph import Graph

_WRITE = "aten.slice_scatter.default"


def remove_needless_slices(graph: Graph) -> None:
    """Let readers of a slice read what it is a slice of, where it takes all of that.

    A model that writes into a view (``x[:, :n] += y``) is imported as a slice, a sum, and a
    ``slice_scatter`` that puts the sum into its place. Where all of it is written, or what was
    written is read again, the sum itself is meant.
    """
    for name in [node.name for node in graph.nodes()]:
        meant = _meant(graph, graph.node(name))  # as it is after what stands before it was changed
        if meant is not None:
            graph.replace_uses(Value(name), meant)


def _meant(graph: Graph, node: Node) -> Operand | None:
    """Return what a node hands on unchanged."""
    if node.op not in ("slice", _WRITE):
        return None
    operands = [operand for _, operand in node.flat_operands()]
    if _takes_all(graph, node):
        return operands[-1]  # of a slice all that it reads, of a write what is written
    source = operands[0]
    if node.op == "slice" and isinstance(source, Value):
        writer = graph.producer(source)
        if writer.op == _WRITE and _region(graph, writer) == _region(graph, node):
            return list(writer.flat_operands())[1][1]
    return None


def _takes_all(graph: Graph, node: Node) -> bool:
    dim, start, end, step = _region(graph, node)
    size = graph.spec(next(iter(node.flat_operands()))[1]).shape[dim]
    if not isinstance(size, int):  # the batch
        taken = list(node.flat_operands())[-1][1] if node.op == _WRITE else Value(node.name)
        return (start, step) == (0, 1) and graph.spec(taken).shape[dim] == size
    return (start, end, step) == (0, size, 1)


def _region(graph: Graph, node: Node) -> tuple[int, int, int, int]:
    """Return the dimension, start, end and step."""
    shape = graph.spec(next(iter(node.flat_operands()))[1]).shape
    attributes = node.attributes
    dim = attributes["dim"] % len(shape)
    size = shape[dim]
    given = slice(attributes["start"], attributes["end"], attributes["step"])
    if not isinstance(size, int):
        return dim, given.start or 0, -1 if given.stop is None else given.stop, given.step
    return dim, *given.indices(size)
