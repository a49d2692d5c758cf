"""Find and remove what no output of a graph depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwopt.graph.types import Parameter, Value

if TYPE_CHECKING:
    from hwopt.graph.graph import Graph


def unused(graph: Graph) -> list[str]:
    """Return the nodes, the last first, and then the parameters that no output depends on."""
    read = {operand.node for operand in graph.outputs.values() if isinstance(operand, Value)}
    used = {operand.name for operand in graph.outputs.values() if isinstance(operand, Parameter)}
    nodes = []
    for node in reversed(graph.nodes()):
        if node.name in read:
            read.update(value.node for _, value in node.values())
            used.update(name for _, name in node.parameters())
        else:
            nodes.append(node.name)
    return nodes + sorted(graph.parameters.keys() - used)


def remove_unused(graph: Graph) -> list[str]:
    """Remove the unused nodes and parameters in place and return their names."""
    names = unused(graph)
    for name in names:
        (graph.remove_node if name in graph else graph.remove_parameter)(name)
    return names
