"""Shapes and dtypes of all values, computed by torch itself on tensors without storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from hwopt.errors import HwoptError, first_line
from hwopt.graph.module import Operation
from hwopt.graph.types import Batch, Dimension, Node, Operand, Parameter, TensorSpec, Value

if TYPE_CHECKING:
    from hwopt.graph.structure import Structure

#: A dimension that is a multiple of the batch size shows itself by two batch sizes.
_PROBES = (2, 3)


def infer_shapes(graph: Structure) -> None:
    """Set the outputs of every node.

    Raises:
        HwoptError: if a node does not fit its operands; the node is named.
    """
    symbolic = any(isinstance(d, Batch) for spec in graph.inputs.values() for d in spec.shape)
    probes = [_run(graph, batch) for batch in (_PROBES if symbolic else _PROBES[:1])]
    for node in graph.nodes():
        runs = [probe[node.name] for probe in probes]
        outputs = tuple(_spec(node, same) for same in zip(*runs, strict=True))
        if outputs != node.outputs:
            graph.replace_node(node.replace(outputs=outputs))


def _run(graph: Structure, batch: int) -> dict[str, list[torch.Tensor]]:
    """Return the outputs of every node as tensors without storage."""
    results: dict[str, list[torch.Tensor]] = {}
    with FakeTensorMode(), torch.no_grad():
        for name, spec in graph.inputs.items():
            results[name] = [torch.empty(spec.at(batch), dtype=getattr(torch, spec.dtype))]
        parameters = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype)
            for name, tensor in graph.parameters.items()
        }

        def read(operand: Operand | None) -> Any:
            if isinstance(operand, Value):
                return results[operand.node][operand.output]
            return None if operand is None else parameters[operand.name]

        for node in graph.nodes():
            operands = {
                role: [read(o) for o in operand] if isinstance(operand, tuple) else read(operand)
                for role, operand in node.operands.items()
            }
            results[node.name] = _call(graph, node, operands, batch)
    return results


def _call(graph: Structure, node: Node, operands: dict[str, Any], batch: int) -> list[torch.Tensor]:
    try:
        result = Operation(node).eval()(operands, batch)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        read = ", ".join(f"{role}: {_describe(graph, o)}" for role, o in node.flat_operands())
        reason = first_line(error)
        raise HwoptError(
            f"node {node.name!r} ({node.op}) does not fit ({read}): {reason}"
        ) from error
    results = list(result) if isinstance(result, list | tuple) else [result]
    if not all(isinstance(one, torch.Tensor) for one in results):
        raise HwoptError(f"node {node.name!r} ({node.op}) returns more than tensors: not supported")
    return results


def _describe(graph: Structure, operand: Operand) -> str:
    if isinstance(operand, Parameter) or graph.producer(operand).outputs:
        return str(graph.spec(operand))
    return str(operand)


def _spec(node: Node, tensors: Sequence[torch.Tensor]) -> TensorSpec:
    first = tensors[0]
    shape = tuple(
        _dimension(node, sizes) for sizes in zip(*(t.shape for t in tensors), strict=True)
    )
    return TensorSpec(shape, str(first.dtype).removeprefix("torch."))


def _dimension(node: Node, sizes: Sequence[int]) -> Dimension:
    if len(set(sizes)) == 1:
        return int(sizes[0])
    multiple, rest = divmod(sizes[0], _PROBES[0])
    if rest or sizes[1] != multiple * _PROBES[1]:
        message = f"node {node.name!r} ({node.op}): a dimension is no multiple of the batch size"
        raise HwoptError(f"{message}; dynamic shapes are not supported yet")
    return Batch(multiple)
