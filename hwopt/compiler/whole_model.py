"""The whole model as one function that calls its kernels one after the other.

Nothing but kernels runs in an inference: the calls are machine code, the memory of the results is
planned at compile time, and the constants come from outside, as parameters.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx
from tvm.ir.expr import GenericConst

from hwopt.compiler.merge_kernels import is_kernel_call
from hwopt.compiler.plan import INFERENCE, Call, Plan, Value
from hwopt.errors import HwoptError
from hwopt.targets import tvm_build

#: TVM takes memory below one KiB from the stack, at multiples of 16 bytes; kernels want 64.
LEAST_BYTES = 4096


@dataclasses.dataclass(frozen=True)
class WholeModel:
    """Kernel calls in order, and the constants that they read."""

    plan: Plan
    constants: tuple[np.ndarray, ...]

    def function(self) -> tirx.PrimFunc:
        """Return the function that takes ``plan.parameters`` and calls the kernels."""
        plan = self.plan
        tensors = {
            number: te.placeholder(plan.values[number].shape, plan.values[number].dtype)
            for number in (*plan.inputs, *plan.constants)
        }
        for call in plan.calls:
            _describe(call, plan, tensors)
        func = te.create_prim_func([tensors[number] for number in plan.parameters])
        return func.with_attr({"global_symbol": INFERENCE, tvm_build.SCHEDULED: True})


def _describe(call: Call, plan: Plan, tensors: dict[int, te.Tensor]) -> None:
    """Add the results of one call to ``tensors``."""
    read = list(dict.fromkeys(number for number in call.arguments if number in tensors))
    written = [number for number in call.arguments if number not in tensors]
    shapes = [_memory(plan.values[n], n in plan.outputs) for n in written]
    dtypes = [plan.values[n].dtype for n in written]

    def emit(inputs: list[Any], outputs: list[Any]) -> Any:
        memory = dict(zip([*read, *written], [*inputs, *outputs], strict=True))
        arguments = [_tensor(memory[n], plan.values[n]) for n in call.arguments]
        return tirx.call_cpacked(call.kernel, *arguments)

    sources = [tensors[number] for number in read]
    # With buffers of our own: those that TVM makes may start anywhere, known at run time only.
    results = te.extern(
        shapes,
        sources,
        emit,
        name=call.kernel,
        dtype=dtypes,
        in_buffers=[tirx.decl_buffer(source.shape, source.dtype) for source in sources],
        out_buffers=[tirx.decl_buffer(s, d) for s, d in zip(shapes, dtypes, strict=True)],
    )
    results = results if len(written) > 1 else [results]
    tensors.update(zip(written, results, strict=True))


def _memory(value: Value, is_output: bool) -> tuple[int, ...]:
    """Return the shape of the memory for a result; outside it is the value's own."""
    if is_output:
        return value.shape
    least = -(-LEAST_BYTES // np.dtype(value.dtype).itemsize)
    return (max(math.prod(value.shape), least),)


def _tensor(buffer: Any, value: Value) -> Any:
    """Return memory as a tensor of a value's shape, to be handed to a kernel."""
    sizes = tirx.tvm_stack_make_shape(*value.shape)
    return tirx.tvm_stack_make_array(buffer.data, sizes, 0, len(value.shape), value.dtype, 0)


def follow(main: relax.Function) -> WholeModel:
    """Read the kernel calls off a Relax function.

    Raises:
        HwoptError: if it does anything but call kernels.
    """
    return _Follower().follow(main)


class _Follower:
    """Numbers the values of a Relax function while following its bindings."""

    def __init__(self) -> None:
        self._values: list[Value] = []
        self._numbers: dict[Any, Any] = {}
        self._constants: dict[int, np.ndarray] = {}

    def follow(self, main: relax.Function) -> WholeModel:
        inputs = tuple(self._new(param, param.ty) for param in main.params)
        calls = []
        for block in main.body.blocks:
            for binding in block.bindings:
                if is_kernel_call(binding.value):
                    calls.append(self._call(binding.value, binding.var))
                else:
                    self._numbers[binding.var] = self._number(binding.value)
        outputs = self._number(main.body.body)
        plan = Plan(
            values=tuple(self._values),
            inputs=inputs,
            constants=tuple(self._constants),
            outputs=tuple(outputs) if isinstance(outputs, list) else (outputs,),
            calls=tuple(calls),
        )
        return WholeModel(plan, tuple(self._constants.values()))

    def _call(self, call: relax.Call, var: relax.Var) -> Call:
        read = [self._number(argument) for argument in call.args[1].fields]
        if isinstance(var.ty, tvm.ir.TupleType):
            written = [self._new(None, ty) for ty in var.ty.fields]
            self._numbers[var] = written
        else:
            written = [self._new(var, var.ty)]
        return Call(kernel=call.args[0].name_hint, arguments=(*read, *written))

    def _number(self, value: Any) -> Any:
        """Return the position of a value, or a list of them for a tuple."""
        if value in self._numbers:
            return self._numbers[value]
        if isinstance(value, relax.Tuple):
            return [self._number(field) for field in value.fields]
        if isinstance(value, relax.TupleGetItem):
            return self._number(value.tuple_value)[value.index]
        if isinstance(value, GenericConst):
            number = self._new(value, value.ty)
            self._constants[number] = value.value.numpy()
            return number
        raise HwoptError(f"the compiler cannot run {str(value).splitlines()[0]} in a model")

    def _new(self, key: Any, ty: Any) -> int:
        """Number a value of its own."""
        number = len(self._values)
        shape = tuple(int(size) for size in ty.shape)
        self._values.append(Value(shape=shape, dtype=str(ty.dtype.dtype)))
        if key is not None:
            self._numbers[key] = number
        return number
