"""Products with a weight that is stored the other way round become linear layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwopt.graph.types import Node, Operands, Parameter, Value

if TYPE_CHECKING:
    from hwopt.graph.graph import Graph

#: By operator: the roles of what is multiplied, of the weight, and of what is added.
_PRODUCTS = {
    "matmul": ("self", "other", ""),
    "mm": ("self", "mat2", ""),
    "addmm": ("mat1", "mat2", "self"),
}


def products_become_linear(graph: Graph) -> None:
    """Replace ``x @ w`` and ``b + x @ w`` by linear layers, whose weight is ``w`` transposed.

    So passes and kernels see a layer. A weight that something else reads, too, stays.
    """
    for op in _PRODUCTS:
        for node in graph.nodes(op):
            if _is_layer(graph, node):
                _replace(graph, node)


def _is_layer(graph: Graph, node: Node) -> bool:
    multiplied, weight, added = (node.operands.get(role) for role in _PRODUCTS[node.op])
    if not isinstance(multiplied, Value) or not isinstance(weight, Parameter):
        return False
    tensor = graph.parameter(weight.name)
    if tensor.dim() != 2 or graph.is_buffer(weight.name):
        return False
    users = graph.parameter_users(weight.name)
    if len(users) > 1 or weight in graph.outputs.values() or weight.name in graph.masks:
        return False
    if added is None:
        return True
    is_bias = isinstance(added, Parameter) and graph.spec(added).shape == tensor.shape[1:]
    return is_bias and node.attributes["beta"] == node.attributes["alpha"] == 1


def _replace(graph: Graph, node: Node) -> None:
    multiplied, weight, added = (node.operands.get(role) for role in _PRODUCTS[node.op])
    assert isinstance(weight, Parameter) and multiplied is not None
    graph.set_parameter(weight.name, graph.parameter(weight.name).T.contiguous())
    operands: dict[str, Operands] = {"input": multiplied, "weight": weight}
    if added is not None:
        operands["bias"] = added
    graph.replace_node(Node(node.name, "linear", operands, {}, node.outputs))
