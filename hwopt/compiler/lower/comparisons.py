"""Comparisons, and operators on truth values and on bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm import relax, tirx

from hwopt.compiler.loops import dtype_of, is_nan, like
from hwopt.compiler.lower.call import Call, Converter, Tensor
from hwopt.compiler.lower.elementwise import elementwise, elementwise_loops, loops, unary

op = relax.op


def compared(function: Callable[..., Any]) -> Converter:
    """Return a converter for a comparison, which is made in the operands' common dtype."""

    def convert(call: Call, *operands: Any) -> Tensor:
        dtype = call.promoted(*operands)
        # TVM compares bools as if they were floats.
        return elementwise(call, function, operands, "uint8" if dtype == "bool" else dtype)

    return convert


def equality(function: Callable[..., Any], of_floats: Callable[..., Any]) -> Converter:
    """Return a converter for ``eq`` or ``ne``: TVM takes ``x == x`` for true, of NaN too."""
    of_others = compared(function)

    def convert(call: Call, x: Any, y: Any) -> Tensor:
        dtype = call.promoted(x, y)
        if dtype.startswith("float"):
            return elementwise_loops(call, of_floats, (x, y), dtype)
        return of_others(call, x, y)

    return convert


def _are_equal(x: Any, y: Any) -> Any:
    return tirx.Select(x <= y, x >= y, tirx.const(False, "bool"))


def _are_unequal(x: Any, y: Any) -> Any:
    return tirx.Select(x <= y, x < y, tirx.const(True, "bool"))


def negated(x: Any) -> Any:
    """Return the opposite truth value, by a number: TVM takes ``not x < y`` for ``x >= y``."""
    return tirx.const(1, "uint8") - tirx.Cast("uint8", x) > tirx.const(0, "uint8")


def _logical_not(call: Call, x: Tensor) -> Tensor:
    return elementwise_loops(call, negated, (x,), "bool")


def _bitwise_not(call: Call, x: Tensor) -> Tensor:
    return _logical_not(call, x) if x.dtype == "bool" else unary(op.bitwise_not)(call, x)


def logical(function: Callable[..., Any]) -> Converter:
    """Return a converter for an operator on truth values; other numbers are true unless zero."""

    def convert(call: Call, *operands: Any) -> Tensor:
        return elementwise(call, function, operands, "bool")

    return convert


def bitwise(on_bits: Callable[..., Any], on_bools: Callable[..., Any]) -> Converter:
    """Return a converter for an operator on bits that is a logical one for bools."""

    def convert(call: Call, *operands: Any) -> Tensor:
        function = on_bools if call.dtype == "bool" else on_bits
        return elementwise(call, function, operands, call.dtype)

    return convert


def _shift(is_left: bool) -> Converter:
    """Return a converter for a shift, by any number of places: nothing is left of too many."""

    def shifted(value: Any, places: Any) -> Any:
        dtype, zero = dtype_of(value), like(value, 0)
        last = like(value, int(dtype.lstrip("uint")) - 1)
        is_inside = tirx.all(places >= zero, places <= last)
        within = tirx.Select(is_inside, places, last)
        if not is_left and not dtype.startswith("u"):
            return tirx.shift_right(value, within)  # which leaves the sign
        function = tirx.shift_left if is_left else tirx.shift_right
        return tirx.Select(is_inside, function(value, within), zero)

    return loops(shifted)


def _tested(on_float: Callable[..., Any]) -> Converter:
    """Return a converter for a question that only floats answer with yes."""

    def convert(call: Call, x: Tensor) -> Tensor:
        is_float = x.dtype.startswith("float")
        function = on_float if is_float else lambda _: tirx.const(False, "bool")
        return elementwise_loops(call, function, (x,), x.dtype)

    return convert


def _is_infinite(x: Any) -> Any:
    return tirx.abs(x) == like(x, math.inf)


_OF_NUMBERS = ("Tensor", "Tensor_Scalar", "Scalar_Tensor")

CONVERTERS: dict[str, Converter] = {
    "eq.Tensor": equality(op.equal, _are_equal),
    "eq.Scalar": equality(op.equal, _are_equal),
    "ne.Tensor": equality(op.not_equal, _are_unequal),
    "ne.Scalar": equality(op.not_equal, _are_unequal),
    "gt.Tensor": compared(op.greater),
    "gt.Scalar": compared(op.greater),
    "ge.Tensor": compared(op.greater_equal),
    "ge.Scalar": compared(op.greater_equal),
    "lt.Tensor": compared(op.less),
    "lt.Scalar": compared(op.less),
    "le.Tensor": compared(op.less_equal),
    "le.Scalar": compared(op.less_equal),
    "logical_and.default": logical(op.logical_and),
    "logical_or.default": logical(op.logical_or),
    "logical_xor.default": logical(op.logical_xor),
    "logical_not.default": _logical_not,
    "bitwise_and.Tensor": bitwise(op.bitwise_and, op.logical_and),
    "bitwise_and.Scalar": bitwise(op.bitwise_and, op.logical_and),
    "bitwise_or.Tensor": bitwise(op.bitwise_or, op.logical_or),
    "bitwise_or.Scalar": bitwise(op.bitwise_or, op.logical_or),
    "bitwise_xor.Tensor": bitwise(op.bitwise_xor, op.logical_xor),
    "bitwise_xor.Scalar": bitwise(op.bitwise_xor, op.logical_xor),
    "bitwise_not.default": _bitwise_not,
    **{f"bitwise_left_shift.{kind}": _shift(is_left=True) for kind in _OF_NUMBERS},
    **{f"bitwise_right_shift.{kind}": _shift(is_left=False) for kind in _OF_NUMBERS},
    **{f"__lshift__.{kind}": _shift(is_left=True) for kind in ("Tensor", "Scalar")},
    **{f"__rshift__.{kind}": _shift(is_left=False) for kind in ("Tensor", "Scalar")},
    "isnan.default": _tested(is_nan),
    "isinf.default": _tested(_is_infinite),
}
