"""Mathematical functions and activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm import relax, te, tirx

from hwopt.compiler.loops import compute, is_float, is_nan, libm, like
from hwopt.compiler.lower.call import Call, Converter, Tensor
from hwopt.compiler.lower.elementwise import (
    clamp,
    elementwise,
    elementwise_loops,
    loops,
    maximum,
    minimum,
    unary,
    unfolded,
)
from hwopt.compiler.lower.movement import expanded

op = relax.op


def gelu(call: Call, x: Tensor, approximate: str = "none") -> Tensor:
    """Convert ``gelu``, exact or by the hyperbolic tangent."""
    return unary(op.nn.gelu if approximate == "none" else op.nn.gelu_tanh)(call, x)


def leaky_relu(call: Call, x: Tensor, slope: float = 0.01) -> Tensor:
    """Convert ``leaky_relu``: a maximum where the slope allows it, which keeps vectors full."""

    def function(value: Any) -> Any:
        scaled = call.emit(op.multiply(value, call.number(slope, call.dtype)))
        if 0 <= slope <= 1:
            return op.maximum(value, scaled)
        return op.where(op.greater(value, call.number(0, call.dtype)), value, scaled)

    return elementwise(call, function, (x,), call.dtype)


def elu(
    call: Call, x: Tensor, alpha: float = 1, scale: float = 1, input_scale: float = 1
) -> Tensor:
    """Convert ``elu``: ``scale * (x if x > 0 else alpha * (exp(input_scale * x) - 1))``."""

    def function(value: Any) -> Any:
        number = call.number
        inner = value
        if input_scale != 1:
            inner = call.emit(op.multiply(value, number(input_scale, call.dtype)))
        below = op.subtract(call.emit(op.exp(inner)), number(1, call.dtype))
        below = op.multiply(call.emit(below), number(alpha * scale, call.dtype))
        above = value
        if scale != 1:
            above = call.emit(op.multiply(value, number(scale, call.dtype)))
        return op.where(op.greater(value, number(0, call.dtype)), above, below)

    return elementwise(call, function, (x,), call.dtype)


def softplus(call: Call, x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """Convert ``softplus``, which is its argument where that is large."""

    def function(value: Any) -> Any:
        scaled = value * like(value, beta)
        soft = libm("log1p", tirx.exp(scaled)) / like(value, beta)
        return tirx.Select(scaled > like(value, threshold), value, soft)

    return elementwise_loops(call, function, (x,), call.dtype)


def _sloped(call: Call, x: Tensor, slope: Tensor) -> Tensor:
    def function(value: Any, by: Any) -> Any:
        return tirx.Select(value > like(value, 0), value, value * by)

    return elementwise_loops(call, function, (x, slope), call.dtype)


def prelu(call: Call, x: Tensor, weight: Tensor) -> Tensor:
    """Convert ``prelu``: one slope, or one a channel, which is dimension 1."""
    order = call.common_order((x,))
    rank = len(x.shape)
    if rank < 2:
        return _sloped(call, x, call.reshaped(weight, ()))
    channels = x.shape[1]
    if weight.shape != (channels,):
        weight = expanded(call, call.reshaped(weight, (1,)), (channels,))
    axis = order.index(1)
    found = op.nn.prelu(call.ordered(x, order), call.plain(weight), axis)
    return call.result(call.emit(found), order)


def _from_libm(name: str) -> Converter:
    return loops(lambda *numbers: libm(name, *numbers))


def _silu(x: Any) -> Any:
    return op.multiply(x, op.sigmoid(x))


def _reciprocal(x: Any) -> Any:
    return op.divide(relax.const(1, str(x.ty.dtype.dtype)), x)


def _ignoring_nan(function: Callable[[Any, Any], Any], otherwise: Converter) -> Converter:
    """Return a converter for an extreme that is the other number where one is NaN."""

    def of_two(x: Any, y: Any) -> Any:
        return tirx.Select(is_nan(x), y, tirx.Select(is_nan(y), x, function(x, y)))

    of_floats = loops(of_two)

    def convert(call: Call, x: Tensor, y: Tensor) -> Tensor:
        is_float = call.dtype.startswith("float")
        return (of_floats if is_float else otherwise)(call, x, y)

    return convert


def _signbit(call: Call, x: Tensor) -> Tensor:
    def is_negative(value: Any) -> Any:
        if not is_float(value):
            return value < like(value, 0)
        return libm("copysign", like(value, 1), value) < like(value, 0)

    dtype = "uint8" if x.dtype == "bool" else x.dtype
    return elementwise_loops(call, is_negative, (x,), dtype)


def _round_to(call: Call, x: Tensor, *, decimals: int) -> Tensor:
    """Convert ``round`` to decimals, of tens where there are less than none."""
    if not call.dtype.startswith("float"):
        raise call.refuse("whole numbers and decimals")

    def rounded(value: Any) -> Any:
        factor = like(value, 10.0 ** abs(decimals))
        if decimals >= 0:
            return tirx.nearbyint(value * factor) / factor
        return tirx.nearbyint(value / factor) * factor

    return elementwise_loops(call, rounded, (x,), call.dtype)


def _angle(call: Call, x: Tensor) -> Tensor:
    """Convert ``angle`` of a real number: pi below zero."""

    def angle(value: Any) -> Any:
        turned = tirx.Select(value < like(value, 0), like(value, math.pi), like(value, 0))
        return tirx.Select(is_nan(value), value, turned)

    return elementwise_loops(call, angle, (x,), call.dtype)


def _linspace(call: Call, start: Any, end: Any, steps: int, **_: Any) -> Tensor:
    """Convert ``linspace``, each half counted from its own end; torch cuts whole numbers first."""
    dtype = call.dtype
    wide = dtype if dtype.startswith("float") else "float64"
    ends = [call.plain(unfolded(one, dtype), dtype) for one in (start, end)]

    def describe(first: te.Tensor, last: te.Tensor) -> te.Tensor:
        low, high = (tirx.Cast(wide, one()) for one in (first, last))
        step = (high - low) / tirx.const(max(1, steps - 1), wide)

        def at(i: Any) -> Any:
            from_first = low + step * tirx.Cast(wide, i)
            from_last = high - step * tirx.Cast(wide, steps - 1 - i)
            is_first = i < max(1, steps // 2)
            return tirx.Cast(dtype, tirx.Select(is_first, from_first, from_last))

        return compute((steps,), at, "linspace")

    return call.result(call.te(describe, *ends))


CONVERTERS: dict[str, Converter] = {
    "round.decimals": _round_to,
    "angle.default": _angle,
    "linspace.Tensor_Tensor": _linspace,
    "linspace.Tensor_Scalar": _linspace,
    "linspace.Scalar_Tensor": _linspace,
    "atan2.default": _from_libm("atan2"),
    "relu.default": unary(op.nn.relu),
    "relu6.default": lambda call, x: clamp(call, x, 0.0, 6.0),
    "silu.default": unary(_silu),
    "gelu.default": gelu,
    "leaky_relu.default": leaky_relu,
    "elu.default": elu,
    "softplus.default": softplus,
    "prelu.default": prelu,
    "_prelu_kernel.default": _sloped,
    "reciprocal.default": unary(_reciprocal),
    "exp2.default": _from_libm("exp2"),
    "lgamma.default": _from_libm("lgamma"),
    "nextafter.default": _from_libm("nextafter"),
    "copysign.Tensor": _from_libm("copysign"),
    "copysign.Scalar": _from_libm("copysign"),
    "fmax.default": _ignoring_nan(tirx.max, maximum),
    "fmin.default": _ignoring_nan(tirx.min, minimum),
    "signbit.default": _signbit,
    "square.default": unary(lambda x: op.multiply(x, x)),
    "exp.default": unary(op.exp),
    "expm1.default": _from_libm("expm1"),
    "log.default": unary(op.log),
    "log1p.default": _from_libm("log1p"),
    "log2.default": _from_libm("log2"),
    "log10.default": _from_libm("log10"),
    "sqrt.default": unary(op.sqrt),
    "rsqrt.default": unary(op.rsqrt),
    "sigmoid.default": unary(op.sigmoid),
    "tanh.default": unary(op.tanh),
    "erf.default": unary(op.erf),
    "sin.default": unary(op.sin),
    "cos.default": unary(op.cos),
    "tan.default": unary(op.tan),
    **{
        f"{name}.default": _from_libm(name)
        for name in ("asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh")
    },
}
