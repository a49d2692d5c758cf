"""Walk an exported program and build the graph."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import has_free_unbacked_symbols

from hwopt.errors import HwoptError
from hwopt.graph import operators
from hwopt.graph.canonical import canonical
from hwopt.graph.cleanup import remove_unused
from hwopt.graph.control_flow import add_control_flow, is_control_flow
from hwopt.graph.functionalize import functionalized
from hwopt.graph.fx_nodes import module_path, where
from hwopt.graph.graph import Graph
from hwopt.graph.products import products_become_linear
from hwopt.graph.recurrent_layers import add_recurrent, is_recurrent
from hwopt.graph.signature import Signature
from hwopt.graph.symbols import NotABatchMultiple, batch_multiple
from hwopt.graph.types import Dimension, Operand, Operands, Parameter, Value
from hwopt.graph.views import remove_needless_slices

#: Operators that return what they are given, as far as numbers go.
_SAME = {"alias", "detach", "lift_fresh", "lift_fresh_copy"}
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
    return Builder(functionalized(program), name, of_one).build()


class Builder:
    """Builds the graph while walking the exported program.

    Attributes:
        program: what is walked.
        graph: what is built.
        read: what every node of the program has become.
        constants: tensors of the program that nothing changes, by the node that stands for them.
    """

    def __init__(self, program: ExportedProgram, name: str, of_one: bool) -> None:
        self.program, self.of_one = program, of_one
        self.graph = Graph("".join(c if c.isalnum() else "_" for c in name))
        self.read: dict[fx.Node, Operands] = {}
        self.constants: dict[fx.Node, torch.Tensor] = {}
        self.symbols: dict[fx.Node, Dimension] = {}
        paths = [module_path(n) for n in program.graph.nodes if _is_operator(n)]
        self.calls_in_module = Counter(paths)

    def build(self) -> Graph:
        """Return the graph."""
        signature = Signature(self.program, self.graph)
        signature.add_inputs()
        self.read |= signature.operands
        self.constants |= signature.constants
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                self.call(node)
            elif node.op == "output":
                signature.add_outputs(node, self.read)
        self.graph.infer_shapes()
        remove_needless_slices(self.graph)
        remove_unused(self.graph)
        products_become_linear(self.graph)
        # The program's tensors are the model's own, and training it must not change the graph.
        for name, tensor in self.graph.parameters.items():
            _refuse_nan(name, tensor)
            self.graph.set_parameter(name, tensor.clone())
        return self.graph

    def inline(self, graph: fx.GraphModule, operands: Sequence[Any]) -> tuple[Operand, ...]:
        """Add the nodes of a graph that a node calls; return its results.

        Args:
            graph: whose nodes are added, once for every call.
            operands: nodes that were walked already, results of such, or sizes.
        """
        given = iter(operands)
        for node in graph.graph.nodes:
            if node.op == "placeholder":
                self.take(node, next(given))
            elif node.op == "call_function":
                self.call(node)
            elif node.op == "output":
                returned: Any = node.args[0]
                listed = returned if isinstance(returned, list | tuple) else (returned,)
                return tuple(map(self.operand, listed))
        raise AssertionError("a graph has an output")

    def take(self, node: fx.Node, given: Any) -> None:
        """Let an input of a graph that is called stand for what it is called with."""
        if isinstance(given, fx.Node) and given in self.symbols:
            self.symbols[node] = self.symbols[given]
        elif isinstance(given, int | torch.SymInt):
            self.symbols[node] = batch_multiple(given)
        else:
            self.read[node] = self.operand(given)

    def operand(self, given: Any) -> Operand:
        """Return what a node of the program has become."""
        found = self.read.get(given) if isinstance(given, fx.Node) else given
        if not isinstance(found, Value | Parameter):
            raise HwoptError("a branch or loop hands on a number: make it a tensor")
        return found

    def add(
        self, node: fx.Node, op: str, operands: dict[str, Operands], attributes: dict[str, Any]
    ) -> Value:
        """Add one of several nodes that a node of the program becomes."""
        name = self.graph.unique_name(f"{module_path(node)}.{op}".strip("."))
        return self.graph.add_node(name, op, operands, attributes)

    def call(self, node: fx.Node) -> None:
        """Add what a call of the program computes."""
        self.refuse_sizes_from_data(node)
        if str(node.target) in ("aten.item.default", "aten._local_scalar_dense.default"):
            raise HwoptError(
                f"{where(node)}: {node.target} makes a number of a tensor, which a compiled model "
                "cannot follow: keep it a tensor"
            )
        if isinstance(node.meta.get("val"), torch.SymInt | int):
            self.symbols[node] = batch_multiple(node.meta["val"])
        elif node.target is operator.getitem:
            self.read[node] = self.item(node)
        elif is_control_flow(node):
            self.read[node] = add_control_flow(self, node)
        elif isinstance(node.target, torch._ops.OpOverload):
            self.operator(node, node.target)
        else:
            raise HwoptError(f"{where(node)}: {node.target} is not supported")

    def item(self, node: fx.Node) -> Operands:
        """Return one of several results."""
        source, index = node.args
        assert isinstance(source, fx.Node) and isinstance(index, int)
        value = self.read[source]
        if isinstance(value, tuple):
            found = value[index]
            assert found is not None
            return found
        assert isinstance(value, Value)
        return Value(value.node, index)

    def operator(self, node: fx.Node, target: torch._ops.OpOverload) -> None:
        """Add an operator."""
        name = target._opname
        if target.namespace == "aten" and name in _CHECKS:
            return
        if name in _SAME:
            self.read[node] = self.operand(node.args[0])
            return
        if name.startswith("as_strided"):
            self.refuse_other_strides(node)
        if name == "squeeze" and self.squeeze(node):
            return
        op, renamed = operators.for_target(str(target))
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
            raise NotABatchMultiple(f"that {where(node)} takes away where it is one")
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
                        f"{where(node)}: how much {node.target} returns depends on the numbers "
                        "that it reads, which a compiled model cannot follow: give it a fixed size"
                    )

    def refuse_other_strides(self, node: fx.Node) -> None:
        """Refuse an operator that depends on where its argument stands in memory."""
        read: Any = node.args[0]
        value = read.meta["val"]
        if not value.is_contiguous() or value.storage_offset() != 0:
            raise HwoptError(
                f"{where(node)}: what {node.target} reads is not contiguous, and where it "
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
            f"{where(node)}: an argument of type {type(value).__name__} is not supported"
        )

    def name(self, node: fx.Node) -> str:
        """Name a node after its module, or after module and operator if it is not alone there."""
        path = module_path(node)
        if path and self.calls_in_module[path] == 1:
            return path
        target: Any = node.target
        kind = operators.for_target(str(target))[0].name.removeprefix("aten.").partition(".")[0]
        return f"{path}.{kind}" if path else kind


def _refuse_nan(name: str, tensor: torch.Tensor) -> None:
    """Refuse a parameter that holds NaN."""
    count = int(tensor.isnan().sum()) if tensor.is_floating_point() else 0
    if count:
        raise HwoptError(
            f"parameter {name!r} holds NaN in {count:,} of {tensor.numel():,} places: a training "
            "has diverged, or the file is damaged"
        )


def _is_operator(node: fx.Node) -> bool:
    return (
        node.op == "call_function"
        and node.target is not operator.getitem
        and not isinstance(node.meta.get("val"), torch.SymInt | int)
        and not is_control_flow(node)
    )


def _arguments(node: fx.Node) -> Iterator[tuple[str, Any]]:
    target: Any = node.target
    for argument, value in zip(target._schema.arguments, node.args, strict=False):
        yield argument.name, value
    yield from node.kwargs.items()


def _is_operand(converted: Any) -> bool:
    if isinstance(converted, tuple):
        return any(map(_is_operand, converted))
    return isinstance(converted, Value | Parameter)
