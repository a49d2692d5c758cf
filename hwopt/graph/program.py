"""Walk an exported program and build the graph."""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx.experimental.symbolic_shapes import has_free_unbacked_symbols

from hwopt.errors import HwoptError
from hwopt.graph import operators
from hwopt.graph.canonical import canonical
from hwopt.graph.cleanup import remove_unused
from hwopt.graph.functionalize import functionalized
from hwopt.graph.graph import Graph
from hwopt.graph.recurrent_layers import add_recurrent, is_recurrent
from hwopt.graph.symbols import NotABatchMultiple, batch_multiple
from hwopt.graph.types import Dimension, Operands, Parameter, TensorSpec, Value

#: Run-time assertions that export adds; shapes are checked by hwopt itself.
_CHECKS = {"_assert_scalar", "sym_constrain_range_for_size", "_assert_tensor_metadata"}


def from_program(program: ExportedProgram, name: str, *, of_one: bool = False) -> Graph:
    """Return the graph of an exported program.

    Args:
        program: what was exported.
        name: of the graph.
        of_one: whether the examples were a batch of one, though the program has a symbol there.

    Raises:
        HwoptError: if it holds what a graph cannot, such as control flow; the line is named.
        NotABatchMultiple: if a size depends on the batch size in another way than as a multiple.
    """
    return _Builder(functionalized(program), name, of_one).build()


class _Builder:
    """Builds the graph while walking the exported program."""

    def __init__(self, program: ExportedProgram, name: str, of_one: bool) -> None:
        self.program, self.of_one = program, of_one
        self.graph = Graph("".join(c if c.isalnum() else "_" for c in name))
        self.read: dict[fx.Node, Operands] = {}
        self.symbols: dict[fx.Node, Dimension] = {}
        self.batch_symbols: set[Any] = set()
        paths = [_module_path(n) for n in program.graph.nodes if _is_operator(n)]
        self.calls_in_module = Counter(paths)

    def build(self) -> Graph:
        # By their sequence: a copy of the program may have other names.
        signature = iter(self.program.graph_signature.input_specs)
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.placeholder(node, next(signature))
            elif node.op == "call_function":
                self.call(node)
            elif node.op == "output":
                self.output(node)
        self.graph.infer_shapes()
        remove_unused(self.graph)
        # The program's tensors are the model's own, and training it must not change the graph.
        for name, tensor in self.graph.parameters.items():
            _refuse_nan(name, tensor)
            self.graph.set_parameter(name, tensor.clone())
        return self.graph

    def placeholder(self, node: fx.Node, spec: Any) -> None:
        if spec.kind == InputKind.USER_INPUT:
            if not isinstance(node.meta.get("val"), torch.Tensor):
                return  # a Python number that the program treats as a constant
            value = node.meta["val"]
            shape = tuple(batch_multiple(size) for size in value.shape)
            self.check_dynamic(spec.arg.name, value.shape)
            dtype = str(value.dtype).removeprefix("torch.")
            self.read[node] = self.graph.add_input(spec.arg.name, TensorSpec(shape, dtype))
            return
        tensors = {**self.program.constants, **self.program.state_dict}
        if not isinstance(tensors.get(spec.target), torch.Tensor):
            raise HwoptError(
                f"the model keeps {spec.target!r}, which is not a tensor: not supported"
            )
        self.read[node] = self.parameter(spec.target, tensors, spec.kind == InputKind.PARAMETER)

    def check_dynamic(self, name: str, shape: torch.Size) -> None:
        """Refuse dynamic sizes other than one batch size, the first dimension of inputs."""
        for dimension, size in enumerate(shape):
            found: set[Any] = set() if isinstance(size, int) else size.node.expr.free_symbols
            self.batch_symbols |= found
            if found and (dimension > 0 or len(self.batch_symbols) > 1):
                raise HwoptError(
                    f"input {name!r}: dimension {dimension} is dynamic; only the batch size may "
                    "be, the first of all inputs: export the model with the other sizes fixed"
                )

    def parameter(self, name: str, tensors: dict[str, Any], trainable: bool) -> Parameter:
        """Return one name for tensors that share their storage."""
        tensor = tensors[name]
        for known, other in self.graph.parameters.items():
            if _same_storage(tensor, other):
                return Parameter(known)
        name = self.graph.unique_name(_writable(name))
        self.graph.set_parameter(name, tensor, trainable=trainable)
        return Parameter(name)

    def call(self, node: fx.Node) -> None:
        self.refuse_sizes_from_data(node)
        if str(node.target) in ("aten.item.default", "aten._local_scalar_dense.default"):
            raise HwoptError(
                f"{_where(node)}: {node.target} makes a number of a tensor, which a compiled model "
                "cannot follow: keep it a tensor"
            )
        if isinstance(node.meta.get("val"), torch.SymInt | int):
            self.symbols[node] = batch_multiple(node.meta["val"])
            return
        if node.target is operator.getitem:
            source, index = node.args
            value = self.read[source]  # type: ignore[index]
            assert isinstance(index, int)
            if isinstance(value, tuple):
                self.read[node] = value[index]  # type: ignore[assignment]
            else:
                assert isinstance(value, Value)
                self.read[node] = Value(value.node, index)
            return
        if not isinstance(node.target, torch._ops.OpOverload):
            raise HwoptError(f"{_where(node)}: {node.target} (control flow) is not supported yet")
        if node.target.namespace == "aten" and node.target._opname in _CHECKS:
            return
        if node.target._opname.startswith("as_strided"):
            self.refuse_other_strides(node)
        if node.target._opname == "squeeze" and self.squeeze(node):
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
        if is_recurrent(op.name):
            results = add_recurrent(self.graph, name, op.name, operands, attributes)
            self.read[node] = results if len(results) > 1 else results[0]
            return
        call = canonical(self.graph, name, op.name, operands, attributes, node)
        self.read[node] = self.graph.add_node(name, *call)

    def squeeze(self, node: fx.Node) -> bool:
        """Add a squeeze that would take away a batch of one, without that; return whether it would.

        Raises:
            NotABatchMultiple: if the examples were a batch of one, which it did take away.
        """
        source: Any = node.args[0]
        shape, rank = source.meta["val"].shape, source.meta["val"].dim()
        asked: Any = node.args[1] if len(node.args) > 1 else range(rank)
        dims = [d % rank for d in ([asked] if isinstance(asked, int) else asked)] if rank else []
        batch = [d for d in dims if not isinstance(shape[d], int)]
        if not batch:
            return False
        if self.of_one:
            raise NotABatchMultiple(f"that {_where(node)} takes away where it is one")
        left = tuple(d for d in dims if d not in batch and shape[d] == 1)
        operand = self.read[source]
        if left:
            name = self.graph.unique_name(self.name(node))
            operand = self.graph.add_node(name, "squeeze_dims", {"self": operand}, {"dim": left})
        self.read[node] = operand
        return True

    def refuse_sizes_from_data(self, node: fx.Node) -> None:
        """Refuse an operator whose results have as many elements as its numbers say."""
        values = node.meta.get("val")
        for value in values if isinstance(values, tuple | list) else (values,):
            for size in value.shape if isinstance(value, torch.Tensor) else ():
                if isinstance(size, torch.SymInt) and has_free_unbacked_symbols(size):
                    raise HwoptError(
                        f"{_where(node)}: how much {node.target} returns depends on the numbers "
                        "that it reads, which a compiled model cannot follow: give it a fixed size"
                    )

    def refuse_other_strides(self, node: fx.Node) -> None:
        """Refuse an operator that depends on where its argument stands in memory."""
        read: Any = node.args[0]
        value = read.meta["val"]
        if not value.is_contiguous() or value.storage_offset() != 0:
            raise HwoptError(
                f"{_where(node)}: what {node.target} reads is not contiguous, and where it "
                "stands counts: call contiguous() on its argument"
            )

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
        raise HwoptError(
            f"{_where(node)}: an argument of type {type(value).__name__} is not supported"
        )

    def name(self, node: fx.Node) -> str:
        """Name a node after its module, or after module and operator if it is not alone there."""
        path = _module_path(node)
        if path and self.calls_in_module[path] == 1:
            return path
        target: Any = node.target
        kind = operators.for_target(str(target))[0].name.removeprefix("aten.").partition(".")[0]
        return f"{path}.{kind}" if path else kind

    def output(self, node: fx.Node) -> None:
        returned: Any = node.args[0]
        results = []
        for value, spec in zip(returned, self.program.graph_signature.output_specs, strict=True):
            if spec.kind == OutputKind.BUFFER_MUTATION:
                raise HwoptError(
                    f"the model changes its buffer {spec.target!r} when it is called, which a "
                    "graph cannot: import it in evaluation mode, or without that state"
                )
            # What else is written, such as the caller's input, is of no use to an artefact.
            if spec.kind == OutputKind.USER_OUTPUT and isinstance(value, fx.Node):
                results.append(value)
        for index, result in enumerate(results):
            operand = self.read[result]
            assert isinstance(operand, Value | Parameter)
            self.graph.outputs["output" if len(results) == 1 else f"output_{index}"] = operand


def _refuse_nan(name: str, tensor: torch.Tensor) -> None:
    """Refuse a parameter that holds NaN."""
    count = int(tensor.isnan().sum()) if tensor.is_floating_point() else 0
    if count:
        raise HwoptError(
            f"parameter {name!r} holds NaN in {count:,} of {tensor.numel():,} places: a training "
            "has diverged, or the file is damaged"
        )


def _same_storage(first: torch.Tensor, second: torch.Tensor) -> bool:
    return (
        first.numel() > 0
        and first.data_ptr() == second.data_ptr()
        and first.shape == second.shape
        and first.stride() == second.stride()
    )


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
    return "" if "_empty_nn_module_stack" in path else _writable(path)


def _writable(name: str) -> str:
    """Return a name that the text of a graph may hold: torch lets modules have any."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", f"_{name}" if name.startswith("-") else name)


def _where(node: fx.Node) -> str:
    trace = (node.meta.get("stack_trace") or "").strip().splitlines()
    line = next((t.strip() for t in reversed(trace) if t.strip().startswith("File")), "")
    return f"node {node.name} ({line})" if line else f"node {node.name}"


def _arguments(node: fx.Node) -> Iterator[tuple[str, Any]]:
    target: Any = node.target
    for argument, value in zip(target._schema.arguments, node.args, strict=False):
        yield argument.name, value
    yield from node.kwargs.items()


def _is_operand(converted: Any) -> bool:
    if isinstance(converted, tuple):
        return any(map(_is_operand, converted))
    return isinstance(converted, Value | Parameter)
