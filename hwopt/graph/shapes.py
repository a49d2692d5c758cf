"""Shapes and dtypes of all values, computed by torch itself on tensors without storage."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
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


#: Shape, strides and dtype of a tensor.
_Layout = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]
#: What nodes were found to return: networks repeat their layers, and most passes change few.
_KNOWN: dict[Hashable, tuple[_Layout, ...]] = {}
_MOST_KNOWN = 20_000


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


def _run(graph: Structure, batch: int) -> dict[str, tuple[_Layout, ...]]:
    """Return the outputs of every node."""
    results: dict[str, tuple[_Layout, ...]] = {}
    for name, spec in graph.inputs.items():
        results[name] = (_contiguous(spec.at(batch), getattr(torch, spec.dtype)),)
    parameters = {
        name: _contiguous(tensor.shape, tensor.dtype) for name, tensor in graph.parameters.items()
    }

    def read(operand: Operand | None) -> _Layout | None:
        if isinstance(operand, Value):
            return results[operand.node][operand.output]
        return None if operand is None else parameters[operand.name]

    for node in graph.nodes():
        operands = {
            role: tuple(map(read, operand)) if isinstance(operand, tuple) else read(operand)
            for role, operand in node.operands.items()
        }
        results[node.name] = _outputs(graph, node, operands, batch)
    return results


def _contiguous(shape: Sequence[int], dtype: torch.dtype) -> _Layout:
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * max(1, shape[axis + 1])
    return tuple(shape), tuple(strides), dtype


def _outputs(
    graph: Structure, node: Node, operands: dict[str, Any], batch: int
) -> tuple[_Layout, ...]:
    """Return what a node returns, computed once for each operator, its attributes and operands."""
    key = None
    if all(map(_is_plain, node.attributes.values())):
        # As text: 1, 1.0 and True are equal, and not the same attribute.
        attributes = repr(sorted(node.attributes.items()))
        key = (node.op, attributes, tuple(sorted(operands.items())), batch)
    if key is not None and key in _KNOWN:
        return _KNOWN[key]
    found = tuple(
        (tuple(one.shape), one.stride(), one.dtype) for one in _call(graph, node, operands, batch)
    )
    if key is not None:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[key] = found
    return found


def _is_plain(value: Any) -> bool:
    """Return whether the text of an attribute says all of it."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | Batch)


def _call(graph: Structure, node: Node, operands: dict[str, Any], batch: int) -> list[torch.Tensor]:
    try:
        with FakeTensorMode(), torch.no_grad():
            given = {
                role: [_tensor(one) for one in of] if _is_list(of) else _tensor(of)
                for role, of in operands.items()
            }
            result = Operation(node).eval()(given, batch)
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


def _is_list(of: Any) -> bool:
    """Return whether these are several layouts, and not the three parts of one."""
    return isinstance(of, tuple) and (not of or not isinstance(of[-1], torch.dtype))


def _tensor(layout: _Layout | None) -> torch.Tensor | None:
    if layout is None:
        return None
    shape, strides, dtype = layout
    return torch.empty_strided(shape, strides, dtype=dtype)


def _describe(graph: Structure, operand: Operand) -> str:
    if isinstance(operand, Parameter) or graph.producer(operand).outputs:
        return str(graph.spec(operand))
    return str(operand)


def _spec(node: Node, layouts: Sequence[_Layout]) -> TensorSpec:
    shapes = (shape for shape, _, _ in layouts)
    shape = tuple(_dimension(node, sizes) for sizes in zip(*shapes, strict=True))
    return TensorSpec(shape, str(layouts[0][2]).removeprefix("torch."))


def _dimension(node: Node, sizes: Sequence[int]) -> Dimension:
    if len(set(sizes)) == 1:
        return int(sizes[0])
    multiple, rest = divmod(sizes[0], _PROBES[0])
    if rest or sizes[1] != multiple * _PROBES[1]:
        message = f"node {node.name!r} ({node.op}): a dimension is no multiple of the batch size"
        raise HwoptError(f"{message}; dynamic shapes are not supported yet")
    return Batch(multiple)
