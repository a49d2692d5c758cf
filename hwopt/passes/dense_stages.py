"""Dense stages of a graph: layers whose features are put beside those that they read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import networkx

from hwopt.graph import Value

if TYPE_CHECKING:
    from hwopt.graph import Graph, Node


@dataclass(frozen=True)
class DenseStage:
    """A run of layers, each of which reads what was there before it and all earlier features.

    Attributes:
        end: the name of the node that puts everything beside each other along the channels.
        features: of every layer, in order.
        read: by every layer: the value whose channels are those before its features.
    """

    end: str
    features: tuple[Value, ...]
    read: tuple[Value, ...]


def dense_stages(graph: Graph) -> list[DenseStage]:
    """Return the dense stages with two layers or more in the order of the graph."""
    network = graph.to_networkx()
    parts = {
        Value(node.name): _parts(graph, Value(node.name))
        for node in graph.nodes("concat")
        if _is_of_channels(node)
    }
    found = []
    for value, operands in parts.items():
        longer = [other for other in parts.values() if len(other) > len(operands)]
        reads = [_read_by(network, parts, operands, k) for k in range(1, len(operands))]
        count = next((n for n, read in enumerate(reversed(reads)) if read is None), len(reads))
        is_prefix = any(other[: len(operands)] == operands for other in longer)
        if count >= 2 and not is_prefix:
            read = tuple(value for value in reads[-count:] if value is not None)
            found.append(DenseStage(value.node, operands[-count:], read))
    return found


def _is_of_channels(node: Node) -> bool:
    return node.attributes["dim"] in (1, -3) and len(node.output.shape) == 4


def _parts(graph: Graph, value: Value) -> tuple[Value, ...]:
    """Return what a value is put together from along its channels: itself, if it is not."""
    node = graph.producer(value)
    if node.op != "concat" or not _is_of_channels(node):
        return (value,)
    return tuple(part for _, operand in node.values() for part in _parts(graph, operand))


def _read_by(
    network: networkx.MultiDiGraph,
    parts: dict[Value, tuple[Value, ...]],
    operands: tuple[Value, ...],
    k: int,
) -> Value | None:
    """Return what the k-th part is computed from, if that has just the parts before it."""
    before = networkx.ancestors(network, operands[k].node)
    if k == 1 and operands[0].node in before:
        return operands[0]
    return next((v for v, own in parts.items() if own == operands[:k] and v.node in before), None)
