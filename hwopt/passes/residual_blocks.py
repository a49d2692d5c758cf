"""Residual blocks of a graph, and the stages in which they repeat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import networkx

from hwopt.graph import Value

if TYPE_CHECKING:
    from hwopt.graph import Graph, Node

_ACTIVATIONS = ("relu", "relu6", "hardtanh", "prelu", "silu", "hardswish", "gelu")
#: What blocks are made of, norms and activations aside.
LAYERS = ("conv2d", "binary_conv2d")


@dataclass(frozen=True)
class ResidualSum:
    """A sum of a value and of what layers make of it.

    Attributes:
        source: what the block reads.
        result: of the layers, which the sum adds to the shortcut.
        sum: the name of the node that adds.
        end: the block's result: the sum, or the activation that alone reads it.
        path: the nodes between source and sum that are not of the shortcut, in order.
        is_identity: whether the shortcut is the source itself.
    """

    source: Value
    result: Value
    sum: str
    end: Value
    path: tuple[str, ...]
    is_identity: bool


def residual_blocks(graph: Graph) -> list[ResidualSum]:
    """Return the residual blocks of images in the order of the graph, inner ones first.

    All that lies between source and sum depends on the graph's inputs through the source only, and
    nothing else reads it, nor is it a result of the graph.
    """
    network = graph.to_networkx()
    # What is computed from parameters alone begins nowhere: it belongs to who reads it.
    root = object()
    network.add_edges_from((root, name) for name in graph.inputs)
    dominators = networkx.immediate_dominators(network, root)
    found = [_block_at(graph, network, node, dominators) for node in graph.nodes("add")]
    return [block for block in found if block is not None]


def stages(graph: Graph, blocks: list[ResidualSum]) -> list[list[ResidualSum]]:
    """Return runs of identity blocks of one kind; a block alone reads the end of the last."""
    runs: list[list[ResidualSum]] = []
    for block in blocks:
        if not block.is_identity:
            continue
        kind = operators(graph, block.path)
        before = next((run for run in runs if run[-1].end == block.source), None)
        inside = {*block.path, block.sum}
        readers = {user.name for user in graph.users(block.source.node)}
        if not readers <= inside or block.source in _results(graph):
            before = None
        if before is not None and operators(graph, before[-1].path) == kind:
            before.append(block)
        else:
            runs.append([block])
    return runs


def operators(graph: Graph, names: tuple[str, ...]) -> list[str]:
    """Return the operators of nodes, by which blocks are told apart."""
    return [graph.node(name).op for name in names]


def module_of(blocks: list[ResidualSum]) -> str:
    """Return the module that the paths of blocks have in common, with a dot behind; "" if none."""
    names = [name.split(".")[:-1] for block in blocks for name in block.path]
    common = []
    for parts in zip(*names, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return "".join(f"{part}." for part in common)


def _block_at(
    graph: Graph, network: networkx.MultiDiGraph, node: Node, dominators: dict[object, object]
) -> ResidualSum | None:
    values = [value for _, value in node.values()]
    before = dominators.get(node.name)
    if len(values) != 2 or len(node.output.shape) != 4 or not isinstance(before, str):
        return None
    between = networkx.descendants(network, before) & networkx.ancestors(network, node.name)
    sources = {
        value
        for name in (*between, node.name)
        for _, value in graph.node(name).values()
        if value.node == before
    }
    is_closed = all(
        user.name in between or user.name == node.name
        for name in between
        for user in graph.users(name)
    ) and not any(value.node in between for value in _results(graph))
    if len(sources) != 1 or not is_closed:
        return None
    (source,) = sources
    paths = {value: _path(graph, network, value, between) for value in values}
    result = max(values, key=lambda value: _count_layers(graph, paths[value]))
    if not _count_layers(graph, paths[result]):
        return None
    end = Value(node.name)
    users = graph.users(node.name)
    if len(users) == 1 and users[0].op in _ACTIVATIONS and end not in graph.outputs.values():
        end = Value(users[0].name)
    return ResidualSum(source, result, node.name, end, paths[result], source in values)


def _results(graph: Graph) -> list[Value]:
    return [operand for operand in graph.outputs.values() if isinstance(operand, Value)]


def _path(
    graph: Graph, network: networkx.MultiDiGraph, value: Value, between: set[str]
) -> tuple[str, ...]:
    members = (networkx.ancestors(network, value.node) | {value.node}) & between
    return tuple(node.name for node in graph.nodes() if node.name in members)


def _count_layers(graph: Graph, path: tuple[str, ...]) -> int:
    return sum(op in LAYERS for op in operators(graph, path))
