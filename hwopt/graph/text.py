"""The text form of a graph, for people, golden tests and ``Graph.from_text``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hwopt.graph import operators
from hwopt.graph.types import Batch, Node, Operands, Parameter

if TYPE_CHECKING:
    from hwopt.graph.structure import Structure


def to_text(graph: Structure) -> str:
    """Return the graph as text: inputs, parameters, nodes with their shapes, outputs."""
    lines = [f"input {name}: {spec}" for name, spec in graph.inputs.items()]
    for name in graph.parameters:
        kind = "buffer" if graph.is_buffer(name) else "parameter"
        kind = "frozen" if graph.is_frozen(name) else kind
        suffix = " masked" * (name in graph.masks) + " codebook" * (name in graph.codebooks)
        lines.append(f"{kind} {name}: {graph.spec(Parameter(name))}{suffix}")
    lines += [_node(node) for node in graph.nodes()]
    lines += [f"state {name} = {after}" for name, after in graph.states.items()]
    lines.append("return " + ", ".join(f"{name}={v}" for name, v in graph.outputs.items()))
    body = "".join(f"  {line}\n" for line in lines)
    return f"graph {graph.name} {{\n{body}}}\n"


def _node(node: Node) -> str:
    specs = ", ".join(map(str, node.outputs))
    outputs = f": {specs}" if specs else ""
    return f"{node.name}{outputs} = {node.op}({', '.join(_arguments(node))})"


def _arguments(node: Node) -> list[str]:
    """Values come first without their role where the schema's order allows it."""
    printed = []
    leading = True
    for argument in operators.get(node.op).arguments:
        if argument.name in node.operands:
            operands = node.operands[argument.name]
            text = _operands(operands)
            leading = leading and not isinstance(operands, Parameter)
            printed.append(text if leading else f"{argument.name}={text}")
        elif argument.name in node.attributes:
            leading = False
            value = node.attributes[argument.name]
            if value != _frozen(argument.default) or type(value) is not type(
                _frozen(argument.default)
            ):
                printed.append(f"{argument.name}={literal(value)}")
    return printed


def _operands(operands: Operands | None) -> str:
    if isinstance(operands, tuple):
        return f"[{', '.join(map(_operands, operands))}]"
    return "none" if operands is None else str(operands)


def literal(value: Any) -> str:
    """Return an attribute as text: numbers, ``true``, ``none``, strings in quotes, lists.

    >>> literal((1, Batch(2), None, True, 0.5, "same"))
    '[1, 2*N, none, true, 0.5, "same"]'
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, int | float | Batch):
        return repr(value)
    raise TypeError(f"an attribute cannot hold a {type(value).__name__}")


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
