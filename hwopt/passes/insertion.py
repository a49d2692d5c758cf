"""Put a graph or a torch module into a graph, as nodes."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from hwopt.graph import Parameter, Value
from hwopt.graph.importer import import_model
from hwopt.graph.types import Operand

if TYPE_CHECKING:
    from torch import nn

    from hwopt.graph import Graph


def insert_module(
    graph: Graph, name: str, make: Callable[[], nn.Module], *inputs: Value, seed: int
) -> Value:
    """Add the nodes of a new module to a graph in place and return the value of its result.

    Nodes and parameters have their names in the module behind ``name`` and a dot.

    Args:
        graph: with specifications of the inputs.
        name: none of the graph's nodes may begin with it and a dot.
        make: returns the module, from tensors to one tensor.
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


def insert_graph(graph: Graph, name: str, part: Graph, *inputs: Value) -> Value:
    """Add the nodes and parameters of another graph in place and return the value of its result.

    They have their names in that graph behind ``name`` and a dot.

    Args:
        graph: with specifications of the inputs.
        name: none of the graph's nodes may begin with it and a dot.
        part: has one output.
        inputs: what it reads, in the order of its inputs.
    """
    named: dict[str, Value] = dict(zip(part.inputs, inputs, strict=True))

    def moved(operand: Operand) -> Operand:
        if isinstance(operand, Parameter):
            return Parameter(f"{name}.{operand.name}")
        return named.get(operand.node) or Value(f"{name}.{operand.node}", operand.output)

    for parameter, tensor in part.parameters.items():
        graph.set_parameter(
            f"{name}.{parameter}",
            tensor,
            trainable=not part.is_buffer(parameter),
            frozen=part.is_frozen(parameter),
            mask=part.masks.get(parameter),
        )
        graph.set_codebook(f"{name}.{parameter}", parameter in part.codebooks)
    for node in part.nodes():
        graph.add_node(f"{name}.{node.name}", node.op, node.mapped(moved).operands, node.attributes)
    (output,) = part.outputs.values()
    graph.infer_shapes()
    result = moved(output)
    assert isinstance(result, Value)
    return result


def unique_prefix(graph: Graph, wanted: str) -> str:
    """Return ``wanted``, or ``wanted_1``, ...: no node's name begins with it and a dot."""
    name, count = wanted, 0
    while any(node.name == name or node.name.startswith(f"{name}.") for node in graph.nodes()):
        count += 1
        name = f"{wanted}_{count}"
    return name
