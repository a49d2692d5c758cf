"""``fold-constants``: compute once what does not depend on the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hwopt.graph import Node, Parameter, Value, operators
from hwopt.graph.cleanup import remove_unused
from hwopt.graph.module import Operation
from hwopt.passes.base import Context, Note, Pass, PassResult

if TYPE_CHECKING:
    from hwopt.graph import Graph

#: Of what they read they take the type or the shape, which are known.
_READ_NO_NUMBERS = frozenset(
    f"aten.{name}.default"
    for name in ("new_zeros", "new_ones", "new_full", "zeros_like", "ones_like")
)


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Put in the place of nodes that read parameters alone what they compute.

    Such are masks, tables of positions, and networks on such tables (Swin Transformer v2). What is
    folded is trained no more, so fold after training. Kept are nodes whose size is that of the
    batch, random ones, and what reads a parameter with a mask or a codebook, which would become
    larger.

    Options:
        weights: whether what weights compute is folded; otherwise only what buffers do, such as
            tables and masks, so that nothing is trained less.

    >>> import hwopt
    >>> class Shifted(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x + torch.arange(3.0) * 2
    >>> graph = hwopt.import_model(Shifted(), torch.zeros(1, 3))
    >>> print(hwopt.apply(graph, "fold-constants").to_text())
    graph Shifted {
      input x: f32[N, 3]
      buffer mul.value: f32[3]
      add: f32[N, 3] = add(%x, other=@mul.value)
      return output=%add
    }
    <BLANKLINE>
    """

    name = "fold-constants"
    preserves_function = True

    weights: bool = True

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with the constants in place of what computes them."""
        constants: dict[Value, torch.Tensor] = {}
        folded = {}
        with torch.no_grad():
            for node in graph.nodes():
                if self._is_folded(graph, node) and _is_constant(graph, node, constants):
                    folded[node.name] = node
                    constants.update(_computed(graph, node, constants))
        if not folded:
            return PassResult(graph, modified=False)
        result = graph.copy()
        for value, tensor in constants.items():
            users = graph.users(value.node)
            is_output = value in graph.outputs.values()
            if is_output or any(user.name not in folded for user in users):
                name = result.unique_name(f"{value.node}.value")
                result.set_parameter(name, tensor, trainable=False)
                result.replace_uses(value, Parameter(name))
        remove_unused(result)
        notes = [Note(name, "computed from parameters alone", changed=True) for name in folded]
        return PassResult(result, modified=True, notes=tuple(notes))

    def _is_folded(self, graph: Graph, node: Node) -> bool:
        return self.weights or all(graph.is_buffer(name) for _, name in node.parameters())


def _is_constant(graph: Graph, node: Node, constants: dict[Value, torch.Tensor]) -> bool:
    """Say whether a node always computes the same."""
    operator = operators.get(node.op)
    if torch.Tag.nondeterministic_seeded in operator.function.tags and node.op != "dropout":
        return False
    if not all(isinstance(size, int) for spec in node.outputs for size in spec.shape):
        return False
    packed = graph.codebooks | graph.masks.keys()
    if any(name in packed for _, name in node.parameters()):
        return False
    return node.op in _READ_NO_NUMBERS or all(value in constants for _, value in node.values())


def _computed(
    graph: Graph, node: Node, constants: dict[Value, torch.Tensor]
) -> dict[Value, torch.Tensor]:
    def read(operand: object) -> object:
        if isinstance(operand, tuple):
            return [read(one) for one in operand]
        if isinstance(operand, Parameter):
            return graph.parameter(operand.name)
        if isinstance(operand, Value):
            return constants[operand] if operand in constants else _empty(graph, operand)
        return None

    operands = {role: read(operand) for role, operand in node.operands.items()}
    results = Operation(node).eval()(operands, 1)
    listed = results if isinstance(results, list | tuple) else [results]
    return {Value(node.name, i): result.clone() for i, result in enumerate(listed)}


def _empty(graph: Graph, value: Value) -> torch.Tensor:
    spec = graph.spec(value)
    return torch.empty(spec.at(), dtype=getattr(torch, spec.dtype))
