"""Import: a torch module, an exported program or a ``.pt2`` file becomes a graph."""

from __future__ import annotations

import contextlib
import inspect
import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from hwopt import logs
from hwopt.errors import HwoptError, first_line
from hwopt.graph.graph import Graph
from hwopt.graph.program import from_program
from hwopt.graph.symbols import NotABatchMultiple

#: What torch.save and torch.jit.save are usually told to write.
PICKLED = (".pt", ".pth", ".torchscript")


def import_model(
    model: nn.Module | ExportedProgram | str | Path,
    example_inputs: torch.Tensor | Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    constants: Mapping[str, Any] | None = None,
    dims: Mapping[str, int] | None = None,
) -> Graph:
    """Import a model as a graph.

    The first dimension of the inputs becomes the batch size ``N`` where the model allows it;
    otherwise the graph keeps the batch size of the example.

    Args:
        model: a module (imported in evaluation mode; its own mode is left as it was), an exported
            program, or the path of a ``.pt2`` or ``.onnx`` file.
        example_inputs: one tensor, a sequence of arguments, or arguments by their names; needed for
            a module only. An argument of a module may be a list, tuple or dict of tensors, each of
            which becomes an input of its own (``boxes_0``, ``batch_mask``), or a number, bool or
            None, which the model keeps. Of an ``.onnx`` file what is left out has the shape that
            the file says.
        name: the graph's name; by default the class or the file.
        constants: of an ``.onnx`` file: values of inputs that the graph is to have no more, such as
            a sample rate or a shape.
        dims: of an ``.onnx`` file: sizes of free dimensions by their names; others are 1.

    Raises:
        HwoptError: if the model cannot be exported: the operator and the line are named.

    >>> graph = import_model(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), torch.randn(1, 4))
    >>> print(graph.to_text())
    graph Sequential {
      input input: f32[N, 4]
      parameter 0.weight: f32[2, 4]
      parameter 0.bias: f32[2]
      0: f32[N, 2] = linear(%input, weight=@0.weight, bias=@0.bias)
      1: f32[N, 2] = relu(%0)
      return output=%1
    }
    <BLANKLINE>
    """
    if isinstance(model, str | Path):
        return _import_file(Path(model), example_inputs, name, constants, dims)
    if constants or dims:
        raise HwoptError("constants and dims are for an .onnx file: give a module without them")
    if isinstance(model, ExportedProgram):
        _check_none_given(example_inputs, "an exported program")
        return _from_exported(model, name or "model")
    if example_inputs is None:
        raise HwoptError("a torch module is imported with example inputs: give at least one tensor")
    name = name or type(model).__name__
    if isinstance(model, torch.jit.ScriptModule):
        raise HwoptError(
            "TorchScript is not read: import the module that it was made of, or convert it with "
            "torch.export"
        )
    arguments = _arguments(model, example_inputs)
    _refuse_meta(model, arguments)
    with _as_in_eval(model):
        program = _export(model, arguments, batch_is_symbolic=True)
        if program is not None:
            with contextlib.suppress(NotABatchMultiple):
                return from_program(program, name, of_one=1 in _batch_sizes(arguments))
        fixed = _export(model, arguments, batch_is_symbolic=False)
        assert fixed is not None
        return from_program(fixed, name)


def example_tensors(model: nn.Module, example_inputs: Any) -> tuple[torch.Tensor, ...]:
    """Return the tensors in example inputs of a module, in the order of its graph's inputs.

    Raises:
        HwoptError: if its ``forward`` takes others.
    """
    return tuple(_tensors(_arguments(model, example_inputs)))


def _arguments(model: nn.Module, example_inputs: Any) -> inspect.BoundArguments:
    """Return the arguments of the model's ``forward``.

    Raises:
        HwoptError: if it takes others.
    """
    given: tuple[Any, ...] = ()
    named: Mapping[str, Any] = {}
    if isinstance(example_inputs, torch.Tensor):
        given = (example_inputs,)
    elif isinstance(example_inputs, Mapping):
        named = example_inputs
    else:
        given = tuple(example_inputs)
    signature = inspect.signature(model.forward)
    try:
        return signature.bind(*given, **named)
    except TypeError as error:
        kind = type(model).__name__
        raise HwoptError(f"{kind}.forward{signature} does not take the inputs: {error}") from error


def _tensors(arguments: inspect.BoundArguments) -> list[torch.Tensor]:
    leaves = pytree.tree_leaves((arguments.args, arguments.kwargs))
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _batch_sizes(arguments: inspect.BoundArguments) -> set[int | None]:
    """Return the sizes of all inputs' first dimensions; None for one that has no dimension."""
    return {x.shape[0] if x.dim() else None for x in _tensors(arguments)}


def _refuse_meta(model: nn.Module, arguments: inspect.BoundArguments) -> None:
    """Refuse tensors without numbers, with which torch fails somewhere else."""
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, torch.Tensor) and tensor.is_meta:
            raise HwoptError(
                f"parameter {name!r} is on the device meta and has no numbers: load its weights "
                "first"
            )
    for place, tensor in enumerate(_tensors(arguments)):
        if tensor.is_meta:
            raise HwoptError(f"example input {place} is on the device meta: give one with numbers")


def _import_file(
    path: Path,
    example_inputs: Any,
    name: str | None,
    constants: Mapping[str, Any] | None,
    dims: Mapping[str, int] | None,
) -> Graph:
    if not path.exists():
        raise HwoptError(f"the model file {path} does not exist")
    if path.suffix == ".onnx":
        from hwopt.graph.onnx import load_onnx

        module, inputs, outputs, free = load_onnx(path, example_inputs, constants, dims)
        try:
            graph = import_model(module, inputs, name=name or path.stem)
        except HwoptError as error:
            sizes = f"; the free sizes {', '.join(free)} were taken for 1: say what they are"
            raise HwoptError(f"{path}: {error}{sizes if free else ''}") from error
        return _with_outputs(graph, outputs)
    if path.suffix in PICKLED:
        raise HwoptError(
            f"{path} may be a pickled module, a state dict or TorchScript, none of which is read: "
            "load it in Python, and import the module with example inputs, or write it with "
            "torch.export.save as a .pt2 file"
        )
    if path.suffix != ".pt2":
        raise HwoptError(f"{path}: only .pt2 and .onnx files hold a model that can be imported")
    _check_none_given(example_inputs or constants or dims, str(path))
    try:
        with logs.at_least("torch.export", logging.ERROR):  # it logs tracebacks
            program = torch.export.load(path)
    except Exception as error:  # torch raises many types for a damaged file
        raise HwoptError(f"{path} cannot be read as a .pt2 file: {first_line(error)}") from error
    return _from_exported(program, name or path.stem)


def _with_outputs(graph: Graph, names: Sequence[str]) -> Graph:
    """Call the outputs what a file calls them."""
    if len(names) == len(graph.outputs):
        graph.outputs = dict(zip(names, graph.outputs.values(), strict=True))
    return graph


def _check_none_given(example_inputs: object, what: str) -> None:
    if example_inputs is not None:
        raise HwoptError(f"the inputs of {what} are those that it was exported with: give none")


def _from_exported(program: ExportedProgram, name: str) -> Graph:
    try:
        return from_program(program, name)
    except NotABatchMultiple as error:
        message = f"{name}: the size {error} is no multiple of the batch size"
        raise HwoptError(f"{message}: export the model with a fixed batch size") from None


@contextlib.contextmanager
def _as_in_eval(model: nn.Module) -> Iterator[None]:
    """Put every submodule into eval mode and give each its own mode back afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _export(
    model: nn.Module, arguments: inspect.BoundArguments, *, batch_is_symbolic: bool
) -> ExportedProgram | None:
    """Export; None if the batch size was to be symbolic and the model does not allow it."""
    args, kwargs, shapes = arguments.args, arguments.kwargs, None
    if batch_is_symbolic:
        batches = _batch_sizes(arguments)
        if len(batches) != 1 or None in batches:
            return None
        args, kwargs = pytree.tree_map_only(torch.Tensor, _twice_if_one, (args, kwargs))
        shapes = pytree.tree_map(
            lambda x: {0: Dim("batch")} if isinstance(x, torch.Tensor) else None,
            dict(arguments.arguments),
        )
    try:
        # An attempt may fail: what went wrong is reported by us.
        with warnings.catch_warnings(), logs.at_least("torch", logging.CRITICAL):
            warnings.simplefilter("ignore")
            return torch.export.export(model, args, kwargs, dynamic_shapes=shapes)
    except Exception as error:  # torch.export raises dozens of types
        if batch_is_symbolic:
            return None
        if isinstance(error, HwoptError):  # a node of a file says itself what is wrong
            raise
        raise HwoptError(_export_failure(model, error)) from error


def _twice_if_one(x: torch.Tensor) -> torch.Tensor:
    """Return two rows for one: an example of one would be taken for a constant."""
    return torch.cat([x, x]) if x.shape[0] == 1 else x


def _export_failure(model: nn.Module, error: BaseException) -> str:
    """Say which line of the user's model could not be exported."""
    torch_folder = str(Path(torch.__file__).parent)
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if torch_folder not in f.filename
    ]
    own = [f for f in frames if "hwopt/graph/" not in f.filename and f.filename[0] != "<"]
    where = f" at {own[-1].filename}:{own[-1].lineno} ({own[-1].line})" if own else ""
    message = f"{type(model).__name__} cannot be exported{where}: {first_line(error)}"
    return f"{message}; rewrite that line without control flow on tensor values"
