"""Quotients, remainders and powers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tvm import relax, te, tirx

from hwopt.compiler.loops import compute, dtype_of, libm, like
from hwopt.compiler.lower.call import Call, Converter, Tensor
from hwopt.compiler.lower.elementwise import elementwise, elementwise_loops, is_zero, unfolded

op = relax.op

#: Bits of the exponent of a power of whole numbers.
_EXPONENT_BITS = 63


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
    order = call.common_order((x, exponent))
    base = call.aligned(x, order, call.dtype)
    bits = call.aligned(exponent, order, call.dtype)
    number = call.number
    result = None
    for bit in range(8 if call.dtype == "uint8" else _EXPONENT_BITS):
        taken = call.emit(op.right_shift(bits, number(bit, call.dtype)))
        taken = call.emit(op.bitwise_and(taken, number(1, call.dtype)))
        is_set = call.emit(op.equal(taken, number(1, call.dtype)))
        factor = call.emit(op.where(is_set, base, number(1, call.dtype)))
        result = factor if result is None else call.emit(op.multiply(result, factor))
        base = call.emit(op.multiply(base, base))
    if call.dtype.startswith("int"):
        base = call.aligned(x, order, call.dtype)
        is_one = call.emit(op.equal(base, number(1, call.dtype)))
        is_minus_one = call.emit(op.equal(base, number(-1, call.dtype)))
        is_odd = call.emit(op.bitwise_and(bits, number(1, call.dtype)))
        odd = call.emit(op.equal(is_odd, number(1, call.dtype)))
        signs = call.emit(op.where(odd, number(-1, call.dtype), number(1, call.dtype)))
        below = call.emit(op.where(is_minus_one, signs, number(0, call.dtype)))
        below = call.emit(op.where(is_one, number(1, call.dtype), below))
        result = call.emit(op.where(call.emit(op.less(bits, number(0, call.dtype))), below, result))
    return call.result(result, order)


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
