"""Quotients, remainders and powers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from tvm import relax, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from hwopt.compiler.loops import compute, dtype_of, libm, like
from hwopt.compiler.lower.call import Call, Converter, Spec, Tensor
from hwopt.compiler.lower.elementwise import elementwise, elementwise_loops, is_zero, unfolded
from hwopt.compiler.lower.movement import expanded
from hwopt.targets import tvm_build

op = relax.op

#: Bits of the exponent of a power of whole numbers.
_BITS = {"uint8": 8, "int8": 7, "int16": 15, "int32": 31, "int64": 63}


def _refuse_zero(call: Call, divisor: Any) -> None:
    """Let the model say where whole numbers are divided by zero, as torch does."""
    known = divisor.constant if isinstance(divisor, Tensor) else torch.tensor(divisor)
    if known is not None:
        if (known == 0).any():
            raise call.refuse("whole numbers that are divided by zero")
        return

    def zeros(numbers: te.Tensor) -> te.Tensor:
        along = [te.reduce_axis((0, n), name="i") for n in numbers.shape]

        def any_zero(_: Any) -> Any:
            one = numbers(*along)
            return te.max(tirx.Cast("int32", one == like(one, 0)), axis=along)

        return compute((1,), any_zero, "zeros")

    data = call.plain(divisor if divisor.shape else call.reshaped(divisor, (1,)))
    found = call.te(zeros, data, name="check_divisor")
    call.check(found, f"{call.place}: whole numbers are divided by zero")


def _safe(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a quotient of whole numbers that no machine stops at.

    By zero it divides by one: see :func:`_refuse_zero`.
    """

    def quotient(x: Any, y: Any) -> Any:
        zero, one = like(y, 0), like(y, 1)
        stops = y == zero
        if dtype_of(y).startswith("int"):
            least = tirx.min_value(dtype_of(x))
            stops = tirx.any(stops, tirx.all(y == like(y, -1), x == least))
        return function(x, tirx.Select(stops, one, y))

    return quotient


def _float_remainder(x: Any, y: Any) -> Any:
    rest = libm("fmod", x, y)
    return tirx.Select(_of_other_sign(rest, y), rest + y, rest)


def _of_other_sign(rest: Any, y: Any) -> Any:
    """Return whether a remainder is not zero and has not the sign of the divisor."""
    zero = like(y, 0)
    return tirx.any(tirx.all(rest > zero, y < zero), tirx.all(rest < zero, y > zero))


def _float_floor_quotient(x: Any, y: Any) -> Any:
    """Follow torch: the quotient of what is left without the remainder, to the nearest below."""
    zero, one = (like(x, n) for n in (0, 1))
    rest = libm("fmod", x, y)
    exact = (x - rest) / y
    exact = tirx.Select(_of_other_sign(rest, y), exact - one, exact)
    below = tirx.floor(exact)
    below = tirx.Select(exact - below > like(x, 0.5), below + one, below)
    below = tirx.Select(exact == zero, (x / y) * zero, below)
    return tirx.Select(y == zero, x / y, below)


def divide(call: Call, x: Any, y: Any, rounding_mode: str | None = None) -> Tensor:
    """Convert ``div`` with each of torch's roundings."""
    if rounding_mode is None and call.dtype.startswith("float") and is_zero(x):
        zero = unfolded(x, call.dtype)
        return elementwise_loops(call, lambda a, b: a / b, (zero, y), call.dtype)
    if rounding_mode is None:
        return elementwise(call, op.divide, (x, y), call.dtype)
    on_floats, on_ints = {
        "floor": (_float_floor_quotient, tirx.floordiv),
        "trunc": (lambda a, b: tirx.trunc(a / b), tirx.truncdiv),
    }[rounding_mode]
    if not call.dtype.startswith("float"):
        _refuse_zero(call, y)
    function = on_floats if call.dtype.startswith("float") else _safe(on_ints)
    return elementwise_loops(call, function, (x, y), call.dtype)


def remainder(on_floats: Callable[..., Any], on_ints: Callable[..., Any]) -> Converter:
    """Return a converter for a remainder."""

    def convert(call: Call, x: Any, y: Any) -> Tensor:
        if not call.dtype.startswith("float"):
            _refuse_zero(call, y)
        function = on_floats if call.dtype.startswith("float") else _safe(on_ints)
        return elementwise_loops(call, function, (x, y), call.dtype)

    return convert


_SIMPLE_POWERS: dict[float, Callable[[Any], Any]] = {
    0.5: op.sqrt,
    -0.5: op.rsqrt,
    2.0: lambda x: op.multiply(x, x),
    3.0: lambda x: op.multiply(op.multiply(x, x), x),
    -1.0: lambda x: op.divide(relax.const(1, str(x.ty.dtype.dtype)), x),
}


def power(call: Call, x: Any, exponent: Any) -> Tensor:
    """Convert ``pow`` of tensors and numbers."""
    if call.dtype.startswith("float"):
        simple = None if isinstance(exponent, Tensor) else _SIMPLE_POWERS.get(float(exponent))
        if simple is not None:
            return elementwise(call, simple, (x,), call.dtype)
        return elementwise(call, op.power, (x, exponent), call.dtype)
    if not isinstance(exponent, Tensor):
        return _known_power(call, x, int(exponent))
    return _unknown_power(call, x, exponent)


def _known_power(call: Call, x: Tensor, exponent: int) -> Tensor:
    if exponent < 0:
        raise call.refuse("whole numbers and an exponent below zero")

    def product(value: Any) -> Any:
        result, square, left = None, value, exponent
        while left:
            if left & 1:
                result = square if result is None else call.emit(op.multiply(result, square))
            left >>= 1
            if left:
                square = call.emit(op.multiply(square, square))
        if result is None:
            return op.full(value.ty.shape, call.number(1, call.dtype), call.dtype)
        return result

    return elementwise(call, product, (x,), call.dtype)


def _unknown_power(call: Call, x: Any, exponent: Tensor) -> Tensor:
    """Multiply bit by bit of the exponent; below zero only 1 and -1 have powers other than 0."""
    if 0 in call.shape:
        return Tensor(call.results[0], constant=call.results[0].empty())
    count, dtype = math.prod(call.shape), call.dtype
    spec = Spec((count,), dtype)
    operands = []
    for operand in (x, exponent):
        whole = expanded(call, unfolded(operand, dtype), call.shape)
        operands.append(call.plain(call.reshaped(whole, (count,)), dtype))

    def loop(ins: list[Any], outs: list[Any]) -> Any:
        with IRBuilder() as builder:
            bases, exponents = map(T.buffer_proxy, ins)
            powers, square = map(T.buffer_proxy, outs)
            one = tirx.const(1, dtype)
            with T.serial(0, tirx.IntImm("int64", count)) as i:
                powers[i], square[0] = one, bases[i]
                with T.serial(0, tirx.IntImm("int64", _BITS[dtype])) as bit:
                    is_set = (exponents[i] >> tirx.Cast(dtype, bit)) & one
                    powers[i] = powers[i] * tirx.Select(is_set == one, square[0], one)
                    square[0] = square[0] * square[0]
                if dtype.startswith("int"):
                    is_below = exponents[i] < tirx.const(0, dtype)
                    inverse = _inverse_power(bases[i], exponents[i])
                    powers[i] = tirx.Select(is_below, inverse, powers[i])
            return builder.get()

    def describe(*inputs: te.Tensor) -> list[te.Tensor]:
        sizes = [[tirx.IntImm("int64", n)] for n in (count, 1)]
        made: list[te.Tensor] = te.extern(
            sizes, list(inputs), loop, dtype=[dtype] * 2, name="powers"
        )
        return made

    made = call.te(describe, *operands, name="powers", attrs={tvm_build.SCHEDULED: True})
    found = call.temporary(call.emit(relax.TupleGetItem(made, 0)), spec)
    return call.reshaped(found, call.shape)


def _inverse_power(base: Any, exponent: Any) -> Any:
    """Return the power of a whole number and an exponent below zero, which is cut to a whole."""
    one, zero = like(base, 1), like(base, 0)
    sign = tirx.Select((exponent & one) == one, like(base, -1), one)
    return tirx.Select(base == one, one, tirx.Select(base == like(base, -1), sign, zero))


def _fmod(x: Any, y: Any) -> Any:
    return libm("fmod", x, y)


CONVERTERS: dict[str, Converter] = {
    "div.Tensor": divide,
    "div.Scalar": divide,
    "div.Tensor_mode": divide,
    "div.Scalar_mode": divide,
    "fmod.Tensor": remainder(_fmod, tirx.truncmod),
    "fmod.Scalar": remainder(_fmod, tirx.truncmod),
    "remainder.Tensor": remainder(_float_remainder, tirx.floormod),
    "remainder.Scalar": remainder(_float_remainder, tirx.floormod),
    "pow.Tensor_Tensor": power,
    "pow.Tensor_Scalar": power,
    "pow.Scalar": power,
}
