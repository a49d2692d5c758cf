"""Import: a torch module, an exported program or a ``.pt2`` file becomes a graph."""

from __future__ import annotations

import contextlib
import logging
import operator
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind

from hwopt.errors import HwoptError
from hwopt.graph import operators
from hwopt.graph.functionalize import functionalized
from hwopt.graph.graph import Graph
from hwopt.graph.symbols import NotABatchMultiple, batch_multiple
from hwopt.graph.types import Dimension, Operands, Parameter, TensorSpec, Value


def import_model(
    model: nn.Module | ExportedProgram | str | Path,
    example_inputs: Sequence[torch.Tensor] | torch.Tensor | None = None,
    *,
    name: str | None = None,
) -> Graph:
    """Import a model as a graph.

    The first dimension of the inputs becomes the batch size ``N`` where the model allows it;
    otherwise the graph keeps the batch size of the example.

    Args:
        model: a module (imported as in ``eval()``; its mode is left as it was), an exported
            program, or the path of a ``.pt2`` or ``.onnx`` file.
        example_inputs: one tensor or a sequence of them; needed for a module only.
        name: the graph's name; by default the class or the file.

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
        return _import_file(Path(model), example_inputs, name)
    if isinstance(model, ExportedProgram):
        return _from_program(model, name or "model")
    if example_inputs is None:
        raise HwoptError("a torch module is imported with example inputs: give at least one tensor")
    inputs = (example_inputs,) if isinstance(example_inputs, torch.Tensor) else example_inputs
    name = name or type(model).__name__
    with _as_in_eval(model):
        program = _export(model, tuple(inputs), batch_is_symbolic=True)
        if program is not None:
            with contextlib.suppress(NotABatchMultiple):
                return _from_program(program, name)
        fixed = _export(model, tuple(inputs), batch_is_symbolic=False)
        assert fixed is not None
        return _from_program(fixed, name)


def _import_file(
    path: Path, example_inputs: Sequence[torch.Tensor] | torch.Tensor | None, name: str | None
) -> Graph:
    if not path.exists():
        raise HwoptError(f"the model file {path} does not exist")
    if path.suffix == ".onnx":
        from hwopt.graph.onnx import load_onnx

        module, inputs = load_onnx(path)
        return import_model(module, example_inputs or inputs, name=name or path.stem)
    if path.suffix != ".pt2":
        raise HwoptError(f"{path}: only .pt2 and .onnx files hold a model that can be imported")
    try:
        program = torch.export.load(path)
    except Exception as error:  # torch raises many types for a damaged file
        raise HwoptError(f"{path} cannot be read as a .pt2 file: {_first_line(error)}") from error
    return _from_program(program, name or path.stem)


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
    model: nn.Module, inputs: tuple[torch.Tensor, ...], *, batch_is_symbolic: bool
) -> ExportedProgram | None:
    """Export; None if the batch size was to be symbolic and the model does not allow it."""
    shapes = None
    if batch_is_symbolic:
        batches = {x.shape[0] if isinstance(x, torch.Tensor) and x.dim() else None for x in inputs}
        if len(batches) != 1 or None in batches:
            return None
        # An example of one would be taken for a constant.
        inputs = tuple(torch.cat([x, x]) if x.shape[0] == 1 else x for x in inputs)
        shapes = tuple({0: Dim("batch")} for _ in inputs)
        if _takes_varargs(model):
            shapes = (shapes,)  # type: ignore[assignment]
    try:
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")
            return torch.export.export(model, inputs, dynamic_shapes=shapes)
    except Exception as error:  # torch.export raises dozens of types
        if batch_is_symbolic:
            return None
        raise HwoptError(_export_failure(model, error)) from error


def _takes_varargs(model: nn.Module) -> bool:
    import inspect

    kinds = [p.kind for p in inspect.signature(model.forward).parameters.values()]
    return kinds == [inspect.Parameter.VAR_POSITIONAL]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's log while an attempt may fail; the error itself is reported by us."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _export_failure(model: nn.Module, error: BaseException) -> str:
    """Say which line of the user's model could not be exported."""
    import traceback

    torch_folder = str(Path(torch.__file__).parent)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if torch_folder not in f.filename]
    own = [f for f in frames if "hwopt/graph/" not in f.filename]
    where = f" at {own[-1].filename}:{own[-1].lineno} ({own[-1].line})" if own else ""
    message = f"{type(model).__name__} cannot be exported{where}: {_first_line(error)}"
    return f"{message}; rewrite that line without control flow on tensor values"


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__


class _Builder:
    """Builds the graph while walking the exported program."""

    def __init__(self, program: ExportedProgram, name: str) -> None:
        self.program = program
        self.graph = Graph("".join(c if c.isalnum() else "_" for c in name))
        self.read: dict[fx.Node, Operands] = {}
        self.symbols: dict[fx.Node, Dimension] = {}
        paths = [_module_path(n) for n in program.graph.nodes if _is_operator(n)]
        self.calls_in_module = Counter(paths)

    def build(self) -> Graph:
        signature = {s.arg.name: s for s in self.program.graph_signature.input_specs}  # type: ignore[union-attr]
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.placeholder(node, signature[node.name])
            elif node.op == "call_function":
                self.call(node)
            elif node.op == "output":
                self.output(node)
        self.graph.infer_shapes()
        remove_unused(self.graph)
        return self.graph

    def placeholder(self, node: fx.Node, spec: Any) -> None:
        if spec.kind == InputKind.USER_INPUT:
            if not isinstance(node.meta.get("val"), torch.Tensor):
                return  # a Python number that the program treats as a constant
            value = node.meta["val"]
            shape = tuple(batch_multiple(size) for size in value.shape)
            dtype = str(value.dtype).removeprefix("torch.")
            self.read[node] = self.graph.add_input(node.name, TensorSpec(shape, dtype))
            return
        tensors = {**self.program.constants, **self.program.state_dict}
        if not isinstance(tensors.get(spec.target), torch.Tensor):
            raise HwoptError(f"the model keeps {spec.target!r}, which is not a tensor: not supported")
        self.read[node] = self.parameter(spec.target, tensors, spec.kind == InputKind.PARAMETER)

    def parameter(self, name: str, tensors: dict[str, Any], trainable: bool) -> Parameter:
        """Return one name for tensors that share their storage."""
        tensor = tensors[name]
        for known, other in self.graph.parameters.items():
            if other.data_ptr() == tensor.data_ptr() and other.shape == tensor.shape:
                if tensor.numel() and other.stride() == tensor.stride():
                    return Parameter(known)
        self.graph.set_parameter(name, tensor, trainable=trainable)
        return Parameter(name)

    def call(self, node: fx.Node) -> None:
        if isinstance(node.meta.get("val"), torch.SymInt | int):
            self.symbols[node] = batch_multiple(node.meta["val"])
            return
        if node.target is operator.getitem:
            source, index = node.args
            value = self.read[source]  # type: ignore[index]
            assert isinstance(value, Value) and isinstance(index, int)
            self.read[node] = Value(value.node, index)
            return
        if not isinstance(node.target, torch._ops.OpOverload):
            raise HwoptError(f"{_where(node)}: {node.target} (control flow) is not supported yet")
        if node.target.namespace == "aten" and node.target._opname in _CHECKS:
            return
        op, renamed = operators.for_target(str(node.target))
        operands: dict[str, Operands] = {}
        attributes: dict[str, Any] = {}
        for argument, value in _arguments(node):
            role = renamed.get(argument, argument)
            known = op.argument(role)
            if known is None:
                continue
            converted = self.convert(node, value)
            if known.is_tensor and converted is not None and _is_operand(converted):
                operands[role] = converted
            elif not (known.is_tensor and converted is None):
                attributes[role] = converted
        name = self.graph.unique_name(self.name(node))
        self.read[node] = self.graph.add_node(name, op.name, operands, attributes)

    def convert(self, node: fx.Node, value: Any) -> Any:
        """Turn an fx argument into an operand or an attribute."""
        if isinstance(value, fx.Node):
            return self.symbols[value] if value in self.symbols else self.read[value]
        if isinstance(value, list | tuple):
            return tuple(self.convert(node, v) for v in value)
        if isinstance(value, torch.SymInt):
            return batch_multiple(value)
        if isinstance(value, torch.dtype | torch.memory_format | torch.layout):
            return str(value)
        if isinstance(value, torch.device):
            return f"device.{value}"
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise HwoptError(f"{_where(node)}: an argument of type {type(value).__name__} is not supported")

    def name(self, node: fx.Node) -> str:
        """Name a node after its module, or after module and operator if it is not alone there."""
        path = _module_path(node)
        if path and self.calls_in_module[path] == 1:
            return path
        target: Any = node.target
        kind = operators.for_target(str(target))[0].name.removeprefix("aten.").partition(".")[0]
        return f"{path}.{kind}" if path else kind

    def output(self, node: fx.Node) -> None:
        results = [v for v in node.args[0] if isinstance(v, fx.Node)]  # type: ignore[union-attr]
        for index, result in enumerate(results):
            operand = self.read[result]
            assert isinstance(operand, Value | Parameter)
            self.graph.outputs["output" if len(results) == 1 else f"output_{index}"] = operand


#: Run-time assertions that export adds; shapes are checked by hwopt itself.
_CHECKS = {"_assert_scalar", "sym_constrain_range_for_size", "_assert_tensor_metadata"}


def _from_program(program: ExportedProgram, name: str) -> Graph:
    return _Builder(functionalized(program), name).build()


def _is_operator(node: fx.Node) -> bool:
    return (
        node.op == "call_function"
        and node.target is not operator.getitem
        and not isinstance(node.meta.get("val"), torch.SymInt | int)
    )


def _module_path(node: fx.Node) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    # A module that is called twice stands in the stack as ``name@1``.
    path = str(path).split("@")[0]
    return "" if "_empty_nn_module_stack" in path else path


def _where(node: fx.Node) -> str:
    trace = (node.meta.get("stack_trace") or "").strip().splitlines()
    line = next((t.strip() for t in reversed(trace) if t.strip().startswith("File")), "")
    return f"node {node.name} ({line})" if line else f"node {node.name}"


def _arguments(node: fx.Node) -> Iterator[tuple[str, Any]]:
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    for argument, value in zip(schema, node.args, strict=False):
        yield argument.name, value
    yield from node.kwargs.items()


def _is_operand(converted: Any) -> bool:
    if isinstance(converted, tuple):
        return any(map(_is_operand, converted))
    return isinstance(converted, Value | Parameter)


def remove_unused(graph: Graph) -> list[str]:
    """Remove nodes and parameters that no output depends on; return their names."""
    read = {operand.node for operand in graph.outputs.values() if isinstance(operand, Value)}
    removed = []
    for node in reversed(graph.nodes()):
        if node.name in read:
            read.update(value.node for _, value in node.values())
        else:
            graph.remove_node(node.name)
            removed.append(node.name)
    used = {name for node in graph.nodes() for _, name in node.parameters()}
    used |= {o.name for o in graph.outputs.values() if isinstance(o, Parameter)}
    for name in graph.parameters.keys() - used:
        graph.remove_parameter(name)
        removed.append(name)
    return sorted(removed)


