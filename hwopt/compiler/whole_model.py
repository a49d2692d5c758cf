"""The whole model as one function that calls its kernels one after the other.

Nothing but kernels runs in an inference: the calls are machine code, the memory of the results is
planned at compile time, and the constants and all memory come from outside, as parameters.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax, tirx
from tvm.ir.expr import GenericConst

from hwopt.compiler.cond import choices
from hwopt.compiler.conditions import with_conditions
from hwopt.compiler.grouping import EASY, HARD, Grouping
from hwopt.compiler.lower import CHECKS
from hwopt.compiler.merge_kernels import is_kernel_call
from hwopt.compiler.plan import INFERENCE, KernelCall, Plan, PlannedCheck, PlanValue, pack
from hwopt.errors import HwoptError
from hwopt.targets import tvm_build


@dataclasses.dataclass(frozen=True)
class WholeModel:
    """Kernel calls in order, and the constants that they read, packed."""

    plan: Plan
    constants: np.ndarray

    def functions(self) -> dict[str, tirx.PrimFunc]:
        """Return functions of ``plan.parameters``, packed constants and a workspace, by name."""
        calls = {INFERENCE: self.plan.calls}
        grouping = Grouping.of(self.plan)
        if grouping is not None:
            calls |= {EASY: grouping.easy, HARD: grouping.hard}
        return {name: self._function(name, those) for name, those in calls.items()}

    def _function(self, name: str, those: Sequence[KernelCall]) -> tirx.PrimFunc:
        plan = self.plan
        parameters = [
            tirx.decl_buffer(plan.values[n].shape, plan.values[n].dtype) for n in plan.parameters
        ]
        first = {
            number: buffer[(0,) * len(buffer.shape)]
            for number, buffer in zip(plan.parameters, parameters, strict=True)
        }
        for placement in (plan.packed_constants(), plan.workspace()):
            memory = tirx.decl_buffer((placement.bytes,), "uint8")
            parameters.append(memory)
            first.update({n: memory[start] for n, start in placement.places.items()})
        parts = []
        for when, calls in itertools.groupby(those, key=lambda call: call.when):
            body = tirx.stmt_seq(*(_run(call, first, plan) for call in calls))
            for asked in reversed(when):
                rows = plan.values[asked.predicate].shape[0]
                body = tirx.IfThenElse(_any(first[asked.predicate], rows, asked.holds), body, None)
            parts.append(body)
        body = tirx.stmt_seq(*parts) if parts else tirx.Evaluate(0)
        func = tirx.PrimFunc(parameters, body)
        return func.with_attr({"global_symbol": name, tvm_build.SCHEDULED: True})


def _run(call: KernelCall, first: dict[int, Any], plan: Plan) -> Any:
    tensors = [_tensor(first[n], plan.values[n]) for n in call.arguments]
    return tirx.Evaluate(tirx.call_cpacked(call.kernel, *tensors))


def _any(first: Any, rows: int, holds: bool) -> Any:
    """Return whether a predicate holds, or does not, in one of its rows at least."""
    (start,) = first.indices
    values = [tirx.Cast("bool", first.source[start + i]) for i in range(rows)]
    return tirx.any(*(value if holds else tirx.Not(value) for value in values))


def _tensor(first: Any, value: PlanValue) -> Any:
    """Return memory from its first element on as a tensor, to be handed to a kernel."""
    sizes = tirx.tvm_stack_make_shape(*value.shape)
    rank = len(value.shape)
    return tirx.tvm_stack_make_array(tirx.address_of(first), sizes, 0, rank, value.dtype, 0)


def follow(mod: tvm.IRModule) -> WholeModel:
    """Read the kernel calls off the function ``main`` of a module of kernels.

    Raises:
        HwoptError: if it does anything but call kernels.
    """
    model = _Follower().follow(mod["main"])
    return dataclasses.replace(model, plan=with_conditions(model.plan, choices(mod)))


class _Follower:
    """Numbers the values of a Relax function while following its bindings."""

    def __init__(self) -> None:
        self._values: list[PlanValue] = []
        self._numbers: dict[Any, Any] = {}
        self._constants: dict[int, np.ndarray] = {}
        self._by_content: dict[tuple[str, tuple[int, ...], bytes], int] = {}

    def follow(self, main: relax.Function) -> WholeModel:
        inputs = tuple(self._new(param, param.ty) for param in main.params)
        calls = []
        for block in main.body.blocks:
            for binding in block.bindings:
                if is_kernel_call(binding.value):
                    calls.append(self._call(binding.value, binding.var))
                else:
                    self._numbers[binding.var] = self._number(binding.value)
        results = self._number(main.body.body)
        sentences = [str(sentence) for sentence in main.attrs[CHECKS]]
        outputs = results[: len(results) - len(sentences)]
        plan = Plan(
            values=tuple(self._values),
            inputs=inputs,
            constants=tuple(self._constants),
            outputs=tuple(outputs),
            calls=tuple(calls),
            checks=tuple(map(PlannedCheck, results[len(outputs) :], sentences)),
        )
        return WholeModel(plan, pack(list(self._constants.values()), plan))

    def _call(self, call: relax.Call, var: relax.Var) -> KernelCall:
        read = [self._number(argument) for argument in call.args[1].fields]
        if isinstance(var.ty, tvm.ir.TupleType):
            written = [self._new(None, ty) for ty in var.ty.fields]
            self._numbers[var] = written
        else:
            written = [self._new(var, var.ty)]
        return KernelCall(kernel=call.args[0].name_hint, arguments=(*read, *written))

    def _number(self, value: Any) -> Any:
        """Return the position of a value, or a list of them for a tuple."""
        if value in self._numbers:
            return self._numbers[value]
        if isinstance(value, relax.Tuple):
            return [self._number(field) for field in value.fields]
        if isinstance(value, relax.TupleGetItem):
            return self._number(value.tuple_value)[value.index]
        if isinstance(value, GenericConst):
            return self._constant(value)
        raise HwoptError(f"the compiler cannot run {str(value).splitlines()[0]} in a model")

    def _constant(self, constant: GenericConst) -> int:
        """Number a constant; equal ones, such as weights that layers share, are one."""
        array = constant.value.numpy()
        content = (array.dtype.str, array.shape, array.tobytes())
        if content not in self._by_content:
            self._by_content[content] = self._new(constant, constant.ty)
            self._constants[self._by_content[content]] = array
        self._numbers[constant] = self._by_content[content]
        return self._numbers[constant]

    def _new(self, key: Any, ty: Any) -> int:
        """Number a value of its own."""
        number = len(self._values)
        shape = tuple(int(size) for size in ty.shape)
        self._values.append(PlanValue(shape=shape, dtype=str(ty.dtype.dtype)))
        if key is not None:
            self._numbers[key] = number
        return number
