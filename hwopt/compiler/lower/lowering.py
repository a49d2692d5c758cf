"""From a graph to Relax, node by node."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
import tvm
from torch import fx
from tvm import relax

from hwopt.compiler.lower.arguments import identity, in_sequence, replaced
from hwopt.compiler.lower.call import Call, Converter, Module, Spec, Tensor
from hwopt.compiler.lower.decompose import decomposed
from hwopt.compiler.lower.known import DROPS, computed_now, is_known, known_if_empty
from hwopt.compiler.lower.table import CONVERTERS, key
from hwopt.errors import FAULT, HwoptError, last_line
from hwopt.graph import Graph, Node, Operand, Value, operators
from hwopt.graph.module import at_batch, to_torch_argument

#: The attribute of ``main`` with one sentence for each check; their results follow the outputs.
CHECKS = "hwopt.checks"
#: What has no kernels: the compiler would have to take it for something else.
_REFUSED_DTYPES = frozenset({"complex64", "complex128", "float16", "bfloat16"})


def lower(graph: Graph, batch: int = 1) -> tvm.IRModule:
    """Turn a graph into Relax.

    Args:
        graph: its nodes are walked in order; masked weights are zero already.
        batch: the size of the batch, where the graph leaves it open.

    Returns:
        A module whose function ``main`` takes the inputs and returns a tuple of the outputs, then
        one int32 for each check (see :data:`CHECKS`). Parameters are constants.

    Raises:
        HwoptError: if an operator, or an argument of it, is not supported; the node is named.
    """
    return _Lowering(graph, batch).run()


class _Lowering:
    """Keeps what every value of the graph has become."""

    def __init__(self, graph: Graph, batch: int) -> None:
        self.graph, self.batch = graph, batch
        self.module = Module(relax.BlockBuilder())
        self.values: dict[Value, Tensor] = {}
        self.known: dict[Any, tuple[list[Tensor], Any]] = {}
        self.parameters: dict[str, Tensor] = {}
        self.traced: dict[Any, fx.Graph] = {}

    def run(self) -> tvm.IRModule:
        builder = self.module.builder
        parameters = [self.input(name, spec) for name, spec in self.graph.inputs.items()]
        with builder.function("main", parameters):
            with builder.dataflow():
                results = self.results_or_error()
                listed = [] if isinstance(results, HwoptError) else results
                result = builder.emit_output(relax.Tuple(listed))
            builder.emit_func_output(result)
        if isinstance(results, HwoptError):
            raise results
        made = builder.finalize()
        sentences = [check.sentence for check in self.module.checks]
        made["main"] = made["main"].with_attr(CHECKS, sentences)
        return made

    def results_or_error(self) -> list[Any] | HwoptError:
        """Emit all nodes; return the outputs and what the checks found.

        An error is returned, since TVM prints a warning of a function that is not ended.
        """
        try:
            for node in self.graph.nodes():
                self.node(node)
            outputs = [self.output(operand) for operand in self.graph.outputs.values()]
        except HwoptError as error:
            return error
        return [*outputs, *(check.fails for check in self.module.checks)]

    def input(self, name: str, spec: Any) -> relax.Var:
        known = Spec(spec.at(self.batch), spec.dtype)
        _refuse_dtype(f"input {name!r}", known)
        var = relax.Var(name, relax.TensorType(known.shape, known.dtype))
        tensor = Tensor(known, var, tuple(range(len(known.shape))))
        self.values[Value(name)] = known_if_empty(tensor)
        return var

    def output(self, operand: Operand) -> Any:
        tensor = self.read(operand)
        _refuse_dtype("an output", tensor.spec)
        expr = Call(self.module, "output", "the output", (tensor.spec,)).plain(tensor)
        return self.module.builder.emit(expr)

    def read(self, operand: Operand) -> Tensor:
        if isinstance(operand, Value):
            return self.values[operand]
        if operand.name not in self.parameters:
            constant = self.graph.parameter(operand.name).detach()
            self.parameters[operand.name] = Tensor(Spec.of(constant), constant=constant)
        return self.parameters[operand.name]

    def node(self, node: Node) -> None:
        specs = tuple(Spec(spec.at(self.batch), spec.dtype) for spec in node.outputs)
        chosen = operators.get(node.op)
        given = {k: to_torch_argument(at_batch(v, self.batch)) for k, v in node.attributes.items()}
        for role, operands in node.operands.items():
            if isinstance(operands, tuple):
                given[role] = [None if one is None else self.read(one) for one in operands]
            else:
                given[role] = self.read(operands)
        given = {**chosen.fixed, **given}
        if chosen.mode:
            given.setdefault(chosen.mode, False)
        place = f"node {node.name!r} ({node.op})"
        results = self.call(chosen.function, given, specs, place)
        for index, result in enumerate(results):
            self.values[Value(node.name, index)] = result

    def call(
        self,
        function: torch._ops.OpOverload,
        given: Mapping[str, Any],
        specs: tuple[Spec, ...],
        place: str,
        *,
        is_part: bool = False,
    ) -> list[Tensor]:
        """Return the results of an operator for arguments by name.

        Args:
            function: the operator.
            given: its arguments.
            specs: of its results.
            place: the node, for messages.
            is_part: whether torch put an operator together from this one, and from nothing else.
        """
        positional, keywords = in_sequence(function, given)
        if is_known(function, (positional, keywords)):
            return computed_now(function, positional, keywords)
        if all(0 in spec.shape for spec in specs):
            return [Tensor(spec, constant=spec.empty()) for spec in specs]
        for spec in specs:
            _refuse_dtype(place, spec)
        if torch.Tag.nondeterministic_seeded in function.tags and function._opname not in DROPS:
            raise HwoptError(
                f"{place}: {function._opname} draws lots when it runs, which a compiled model does "
                "not: give the model what is drawn as an input"
            )
        converter = CONVERTERS.get(key(str(function)))
        if converter is None and is_part:
            raise HwoptError(
                f"{place}: operator {str(function)!r} is not supported by the compiler"
            )
        if converter is None:
            return self.decomposed(function, positional, keywords, place)
        # The same of the same is one tensor: converters see that ``x - x`` is no matter of numbers.
        # Arguments are kept, as a tensor that is gone may leave its identity to another one.
        arguments = (positional, keywords)
        same = (function, identity(arguments))
        if same not in self.known:
            results = self.converted(converter, function, positional, keywords, specs, place)
            self.known[same] = (results, arguments)
        return self.known[same][0]

    def converted(
        self,
        converter: Converter,
        function: torch._ops.OpOverload,
        positional: list[Any],
        keywords: dict[str, Any],
        specs: tuple[Spec, ...],
        place: str,
    ) -> list[Tensor]:
        """Return what a converter emits, compared with what torch says of it."""
        call = Call(self.module, function._opname, place, specs)
        try:
            found = converter(call, *positional, **keywords)
        except HwoptError:
            raise
        except Exception as error:  # TVM raises a different type in each of its layers
            reason = f"{type(error).__name__}: {last_line(error)}"
            raise HwoptError(f"{place} cannot be lowered: {reason}; {FAULT}") from error
        results = [found] if isinstance(found, Tensor) else list(found)
        for result, spec in zip(results, specs, strict=True):
            _compare(result, spec, place)
        return list(map(known_if_empty, results))

    def decomposed(
        self,
        function: torch._ops.OpOverload,
        positional: list[Any],
        keywords: dict[str, Any],
        place: str,
    ) -> list[Tensor]:
        """Lower an operator that is beyond the table by those that torch puts it together from."""
        leaves: list[Tensor] = []
        arguments = replaced((positional, keywords), Tensor, lambda x: _Leaf(leaves, x))

        def run(*tensors: torch.Tensor) -> Any:
            found, named = replaced(arguments, _Leaf, lambda leaf: tensors[leaf.number])
            return function(*found, **named)

        specs = tuple(leaf.spec for leaf in leaves)
        form = (function, specs, repr(replaced(arguments, _Leaf, lambda leaf: leaf.number)))
        if form not in self.traced:
            self.traced[form] = decomposed(run, [spec.empty() for spec in specs], place)
        graph = self.traced[form]
        values: dict[fx.Node, Any] = {}
        inputs = iter(leaves)
        for node in graph.nodes:
            if node.op == "placeholder":
                values[node] = next(inputs)
            elif node.op == "get_attr":
                raise HwoptError(f"{place} cannot be decomposed: it makes a constant")
            elif node.op == "output":
                found = replaced(node.args[0], fx.Node, values.__getitem__)
                return [found] if isinstance(found, Tensor) else list(found)
            elif node.target is operator.getitem:
                values[node] = values[node.args[0]][node.args[1]]
            else:
                values[node] = self.part(node, values, place)
        raise AssertionError("a graph of torch.fx without an output")

    def part(self, node: fx.Node, values: dict[fx.Node, Any], place: str) -> Any:
        """Lower one of the operators that another was decomposed into."""
        target: Any = node.target
        arguments = {
            argument.name: value
            for argument, value in zip(target._schema.arguments, node.args, strict=False)
        } | dict(node.kwargs)
        given = {k: replaced(v, fx.Node, values.__getitem__) for k, v in arguments.items()}
        meta = node.meta["val"]
        metas = meta if isinstance(meta, tuple | list) else [meta]
        results = self.call(target, given, tuple(map(Spec.of, metas)), place, is_part=True)
        return results if isinstance(meta, tuple | list) else results[0]


class _Leaf:
    """The place of a tensor among the arguments of a function that is traced."""

    def __init__(self, leaves: list[Tensor], tensor: Tensor) -> None:
        self.number = len(leaves)
        leaves.append(tensor)


def _refuse_dtype(place: str, spec: Spec) -> None:
    if spec.dtype in _REFUSED_DTYPES:
        raise HwoptError(
            f"{place}: {spec.dtype} numbers cannot be compiled: convert the model, for example "
            "with .float()"
        )


def _compare(result: Tensor, spec: Spec, place: str) -> None:
    """Compare what was lowered with what torch says of it.

    Raises:
        HwoptError: if shape or dtype differ, which is a fault of the compiler.
    """
    found = result.spec
    if result.constant is None:
        sizes = [int(n) for n in result.expr.ty.shape]
        in_order = tuple(sizes[result.order.index(axis)] for axis in range(len(sizes)))
        found = Spec(in_order, str(result.expr.ty.dtype.dtype))
    if found != spec or result.spec != spec:
        raise HwoptError(f"{place} was lowered to {found}, torch says {spec}: {FAULT}")
