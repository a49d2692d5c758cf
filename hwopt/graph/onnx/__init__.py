"""ONNX files: read node by node, as a torch module that is then exported like any other."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn

from hwopt.errors import HwoptError, first_line, unknown_name

if TYPE_CHECKING:
    import onnx

#: Before that, operators broadcast by an attribute and have other defaults.
OLDEST = 7
Examples = Sequence[torch.Tensor] | Mapping[str, torch.Tensor] | torch.Tensor | None


class Loaded(NamedTuple):
    """A file as a module.

    Attributes:
        module: called with the inputs in their order.
        inputs: example inputs.
        outputs: names, as Python allows them.
        free: dimensions that were taken for 1, since nobody said their size.
    """

    module: nn.Module
    inputs: tuple[torch.Tensor, ...]
    outputs: tuple[str, ...]
    free: tuple[str, ...] = ()


def unknown_operators(path: Path) -> dict[str, int]:
    """Return the operators of a file that are not known, with how often it calls them.

    Raises:
        HwoptError: if the file is damaged.
    """
    from hwopt.graph.onnx.node import OnnxGraph, read_graph
    from hwopt.graph.onnx.table import OPERATORS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = _read(path)
        versions = {one.domain: one.version for one in model.opset_import}
        found: Counter[str] = Counter()

        def visit(graph: OnnxGraph) -> None:
            for node in graph.nodes:
                found[node.op] += node.op not in OPERATORS
                for value in node.attributes.values():
                    for inner in value if isinstance(value, list) else [value]:
                        if isinstance(inner, OnnxGraph):
                            visit(inner)

        visit(read_graph(model.graph, versions, str(path.parent)))
    return {op: count for op, count in found.items() if count}


def load_onnx(
    path: Path,
    examples: Examples = None,
    constants: Mapping[str, Any] | None = None,
    dims: Mapping[str, int] | None = None,
) -> Loaded:
    """Return the module of an ONNX file.

    Args:
        path: of the file; tensors may lie in others beside it.
        examples: inputs, in their order or by name; what is left out is zeros of the shape that
            the file says.
        constants: values of inputs that are no inputs of the model then, such as a sample rate.
        dims: sizes of free dimensions by their names; all others are 1.

    Raises:
        HwoptError: if the file is damaged, an operator is not understood, or there is no such
            input or dimension.
    """
    import onnx

    from hwopt.graph.onnx.load import to_module, unique_names
    from hwopt.graph.onnx.node import read_graph
    from hwopt.graph.onnx.suppression import with_counts

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = _read(path)
        versions = {one.domain: one.version for one in model.opset_import}
        # A file of other domains alone says no version of ONNX's own.
        newest = onnx.defs.onnx_opset_version()
        versions[""] = versions.get("", versions.get("ai.onnx", newest))
        if versions[""] < OLDEST:
            raise HwoptError(
                f"{path} has version {versions['']} of ONNX's operators, and the oldest that is "
                f"read is {OLDEST}: convert it with onnx.version_converter"
            )
        try:
            graph = with_counts(read_graph(model.graph, versions, str(path.parent)))
            declared = {v.name: v for v in model.graph.input if v.name in graph.inputs}
            fixed = {
                name: _as_declared(declared, name, value)
                for name, value in (constants or {}).items()
            }
            module = to_module(graph, fixed)
            wanted = [value for name, value in declared.items() if name not in fixed]
            inputs = _examples(wanted, examples, dims or {})
        except HwoptError as error:
            raise HwoptError(f"{path}: {error}") from error
        except Exception as error:  # what a damaged file holds may be anything
            reason = first_line(error)
            raise HwoptError(f"{path} cannot be read as an ONNX model: {reason}") from error
    given = examples is not None
    free = () if given else tuple(name for name in _free(wanted) if name not in (dims or {}))
    return Loaded(module, inputs, tuple(unique_names(graph.outputs)), free)


def _free(declared: Sequence[onnx.ValueInfoProto]) -> list[str]:
    """Return the names of free dimensions, but for the first of an input, which is the batch."""
    dims = [d for value in declared for d in value.type.tensor_type.shape.dim[1:]]
    return list(dict.fromkeys(d.dim_param or "?" for d in dims if d.dim_value <= 0))


def _read(path: Path) -> onnx.ModelProto:
    import onnx
    from onnx import inliner

    try:
        # ONNX's checker refuses much of what other runtimes read, such as results without a shape.
        model = onnx.load(str(path))
        return inliner.inline_local_functions(model) if model.functions else model
    except Exception as error:  # protobuf raises many types
        reason = first_line(error)
        raise HwoptError(f"{path} cannot be read as an ONNX model: {reason}") from error


def _as_declared(declared: Mapping[str, onnx.ValueInfoProto], name: str, value: Any) -> np.ndarray:
    """Return the value of an input in the dtype that the file says."""
    import onnx

    if name not in declared:
        raise unknown_name("input", name, declared)
    kind = declared[name].type.tensor_type
    return np.asarray(value, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))


def _examples(
    declared: Sequence[onnx.ValueInfoProto], given: Examples, dims: Mapping[str, int]
) -> tuple[torch.Tensor, ...]:
    """Return an example for each input: what is given, or zeros."""
    names = [value.name for value in declared]
    free = {d.dim_param for v in declared for d in v.type.tensor_type.shape.dim if d.dim_param}
    for name in dims:
        if name not in free:
            raise unknown_name("free dimension", name, free)
    if isinstance(given, torch.Tensor):
        given = [given]
    if given is not None and not isinstance(given, Mapping):
        if len(given) != len(names):
            raise HwoptError(f"the model has {len(names)} inputs, {len(given)} examples are given")
        given = dict(zip(names, given, strict=True))
    for name in given or {}:
        if name not in names:
            raise unknown_name("input", name, names)
    return tuple(_example(value, (given or {}).get(value.name), dims) for value in declared)


def _example(
    declared: onnx.ValueInfoProto, given: torch.Tensor | None, dims: Mapping[str, int]
) -> torch.Tensor:
    import onnx

    if declared.type.WhichOneof("value") != "tensor_type":
        raise HwoptError(f"input {declared.name!r} is no tensor: lists and maps are not supported")
    kind = declared.type.tensor_type
    dtype = str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    if not hasattr(torch, dtype):
        raise HwoptError(f"input {declared.name!r} holds {dtype}, which is not supported")
    # What is no size is free; some exporters write -1.
    sizes = [d.dim_value if d.dim_value > 0 else dims.get(d.dim_param) for d in kind.shape.dim]
    if given is None:
        return torch.zeros(
            [1 if size is None else size for size in sizes], dtype=getattr(torch, dtype)
        )
    shape = list(given.shape)
    # The first size is the batch, which may be another one than the file says.
    fits = len(shape) == len(sizes) and all(
        size in (None, own) for size, own in zip(sizes[1:], shape[1:], strict=True)
    )
    if kind.HasField("shape") and not fits:
        text = ["?" if size is None else size for size in sizes]
        raise HwoptError(f"input {declared.name!r} has the shape {text}, the example {shape}")
    if str(given.dtype) != f"torch.{dtype}":
        raise HwoptError(f"input {declared.name!r} is of {dtype}, the example of {given.dtype}")
    return given
