"""Put a graph or a torch module into a graph, as nodes."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from hwopt.graph import Parameter, Value
from hwopt.graph.importer import import_model
from hwopt.graph.types import Operand

if TYPE_CHECKING:
    from torch import nn

    from hwopt.graph import Graph, TensorSpec


def insert_module(
    graph: Graph, name: str, make: Callable[[], nn.Module], *inputs: Value, seed: int
) -> tuple[Value, ...]:
    """Add the nodes of a new module to a graph in place and return the values of its results.

    Nodes and parameters have their names in the module behind ``name`` and a dot.

    Args:
        graph: with specifications of the inputs.
        name: none of the graph's nodes may begin with it and a dot.
        make: returns the module, from tensors to one tensor or several.
        inputs: what it reads, in the order of its arguments.
        seed: of its weights.
    """
    with torch.random.fork_rng(devices=[]):
        # Modules of one size do not begin alike.
        torch.manual_seed(zlib.crc32(f"{seed} {name}".encode()))
        module = make()
    dtypes = {getattr(torch, graph.spec(value).dtype) for value in inputs}
    (dtype,) = dtypes
    module = module.to(dtype)
    examples = [torch.zeros(graph.spec(value).at(2), dtype=dtype) for value in inputs]
    return insert_graph(graph, name, import_model(module, examples), *inputs)


def insert_graph(graph: Graph, name: str, part: Graph, *inputs: Value) -> tuple[Value, ...]:
    """Add the nodes and parameters of another graph in place; return the values of its results.

    They have their names in that graph behind ``name`` and a dot.

    Args:
        graph: with specifications of the inputs.
        name: none of the graph's nodes may begin with it and a dot.
        part: what is added.
        inputs: what it reads, in the order of its inputs.
    """
    results = _add(graph, part, inputs, prefix=f"{name}.")
    assert all(isinstance(one, Value) for one in results), "a part computes what it returns"
    return tuple(one for one in results if isinstance(one, Value))


def behind_input(graph: Graph, name: str, part: Graph, spec: TensorSpec) -> Graph:
    """Return a graph whose only input goes through another graph first.

    Args:
        graph: is not changed; its nodes keep their names.
        name: of the nodes of ``part``, with a dot behind; none of the graph's may begin so.
        part: from one input to one output, which is what the graph takes.
        spec: of the new input, which has the name of the old one.
    """
    (source,) = graph.inputs
    result = type(graph)(graph.name)
    made = insert_graph(result, name, part, result.add_input(source, spec))
    outputs = _add(result, graph, made, prefix="")
    result.outputs = dict(zip(graph.outputs, outputs, strict=True))
    result.states, result.history = dict(graph.states), graph.history
    return result


def _add(graph: Graph, part: Graph, inputs: Sequence[Value], prefix: str) -> list[Operand]:
    """Add a graph to another one in place, with a prefix of all names; return its results."""
    named: dict[str, Value] = dict(zip(part.inputs, inputs, strict=True))

    def moved(operand: Operand) -> Operand:
        if isinstance(operand, Parameter):
            return Parameter(f"{prefix}{operand.name}")
        return named.get(operand.node) or Value(f"{prefix}{operand.node}", operand.output)

    for parameter, tensor in part.parameters.items():
        graph.set_parameter(
            f"{prefix}{parameter}",
            tensor,
            trainable=not part.is_buffer(parameter),
            frozen=part.is_frozen(parameter),
            mask=part.masks.get(parameter),
        )
        graph.set_codebook(f"{prefix}{parameter}", parameter in part.codebooks)
    for node in part.nodes():
        operands = node.mapped(moved).operands
        graph.add_node(f"{prefix}{node.name}", node.op, operands, node.attributes)
    graph.infer_shapes()
    return [moved(output) for output in part.outputs.values()]


def unique_prefix(graph: Graph, wanted: str) -> str:
    """Return ``wanted``, or ``wanted_1``, ...: no node's name begins with it and a dot."""
    name, count = wanted, 0
    while any(node.name == name or node.name.startswith(f"{name}.") for node in graph.nodes()):
        count += 1
        name = f"{wanted}_{count}"
    return name
