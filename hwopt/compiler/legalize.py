"""Loops for operators of Relax whose loops by TVM are not torch's: NaN passes through."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from tvm import relax, te, tirx, topi
from tvm.ir.expr import GenericConst

from hwopt.compiler import topk
from hwopt.compiler.loops import broadcasting, common_shape, compute, dtype_of

_BITS = {"float16": "int16", "float32": "int32", "float64": "int64"}


def legalizations() -> dict[str, Callable[..., Any]]:
    """Return how operators become loops, by their names in Relax."""
    return {
        "relax.nn.relu": _relu,
        "relax.maximum": _extreme(tirx.max),
        "relax.minimum": _extreme(tirx.min),
        "relax.max": _reduction(tirx.max, least=True),
        "relax.min": _reduction(tirx.min, least=False),
        **{f"relax.nn.max_pool{n}d": _max_pool for n in (1, 2, 3)},
        "relax.topk": topk.legalize,
    }


def _relu(builder: relax.BlockBuilder, call: relax.Call) -> Any:
    """Compute the maximum with zero: machines return the second operand where one is NaN."""

    def relu(x: te.Tensor) -> te.Tensor:
        zero = tirx.const(0, x.dtype)
        return compute(x.shape, lambda *i: tirx.max(zero, x(*i)), name="compute")

    return builder.call_te(relu, *call.args, primfunc_name_hint="relu")


def _extreme(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Return the rewriting of a maximum or minimum of two tensors."""
    name = "maximum" if function is tirx.max else "minimum"

    def rewrite(builder: relax.BlockBuilder, call: relax.Call) -> Any:
        first, second = call.args
        if isinstance(second, GenericConst):
            first, second = second, first
        # A constant that is no NaN comes first: then the second operand decides.
        is_safe = isinstance(first, GenericConst) and not _has_nan(first)
        of_two = function if is_safe else _either_nan(function)
        operands = [first, second]
        if is_safe and first.ty.ndim == 0:
            number = tirx.const(first.value.numpy().item(), str(first.ty.dtype.dtype))
            operands, of_two = [second], functools.partial(function, number)

        def loops(*tensors: te.Tensor) -> te.Tensor:
            return broadcasting(of_two, common_shape(*tensors))(*tensors)

        return builder.call_te(loops, *operands, primfunc_name_hint=name)

    return rewrite


def _has_nan(constant: GenericConst) -> bool:
    array = constant.value.numpy()
    return array.dtype.kind == "f" and bool((array != array).any())


def _either_nan(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a maximum or minimum that is NaN where either operand is.

    Machines return the second operand where one is NaN, so that one of both sequences returns the
    NaN. Its bits joined with those of a number are a NaN still; two equal numbers stay as they are.
    """

    def of_two(x: Any, y: Any) -> Any:
        bits = _BITS.get(dtype_of(x))
        if bits is None:
            return function(x, y)
        one, other = (tirx.reinterpret(bits, pair) for pair in (function(x, y), function(y, x)))
        return tirx.reinterpret(dtype_of(x), tirx.bitwise_or(one, other))

    return of_two


def _neutral(dtype: str, least: bool) -> Any:
    if dtype.startswith("float"):
        return tirx.const(-math.inf if least else math.inf, dtype)
    return tirx.min_value(dtype) if least else tirx.max_value(dtype)


def _reducer(function: Callable[[Any, Any], Any], least: bool) -> Callable[..., Any]:
    """Return a reducer to an extreme that is NaN where one number is."""
    return te.comm_reducer(
        _either_nan(function), lambda dtype: _neutral(str(dtype), least), name="extreme"
    )


def _reduction(function: Callable[[Any, Any], Any], least: bool) -> Callable[..., Any]:
    """Return the rewriting of an extreme over dimensions."""
    reducer = _reducer(function, least)
    name = "max" if least else "min"

    def rewrite(builder: relax.BlockBuilder, call: relax.Call) -> Any:
        rank = call.args[0].ty.ndim
        given = call.attrs.axis
        axes = list(range(rank)) if given is None else sorted(int(n) % rank for n in given)

        def loops(x: te.Tensor) -> te.Tensor:
            over = {axis: te.reduce_axis((0, x.shape[axis]), name="k") for axis in axes}
            shape = [n for axis, n in enumerate(x.shape) if axis not in over]

            def at(*index: Any) -> Any:
                left = iter(index)
                place = [over[n] if n in over else next(left) for n in range(rank)]
                return reducer(x(*place), axis=list(over.values()))

            found = compute(shape, at, name="extreme")
            if not call.attrs.keepdims:
                return found
            return topi.reshape(found, [1 if n in over else x.shape[n] for n in range(rank)])

        return builder.call_te(loops, *call.args, primfunc_name_hint=name)

    return rewrite


def _max_pool(builder: relax.BlockBuilder, call: relax.Call) -> Any:
    """Compute the maximum of windows."""
    attrs = call.attrs
    window, strides, dilation = (
        [int(n) for n in numbers] for numbers in (attrs.pool_size, attrs.strides, attrs.dilation)
    )
    padding = [int(n) for n in attrs.padding]
    count = len(window)
    before, behind = padding[:count], padding[count:]
    first = 1 if str(attrs.layout).endswith("C") else 2
    axes = range(first, first + count)
    dtype = str(call.ty.dtype.dtype)
    reducer = _reducer(tirx.max, least=True)

    def loops(x: te.Tensor) -> te.Tensor:
        source = x
        if any(padding):
            source = topi.nn.pad(
                x,
                [before[axis - first] if axis in axes else 0 for axis in range(count + 2)],
                [behind[axis - first] if axis in axes else 0 for axis in range(count + 2)],
                pad_value=_neutral(dtype, least=True),
                name="pad_temp",
            )
        taps = [te.reduce_axis((0, n), name="tap") for n in window]

        def at(*index: Any) -> Any:
            place = list(index)
            for n, axis in enumerate(axes):
                place[axis] = index[axis] * strides[n] + taps[n] * dilation[n]
            return reducer(source(*place), axis=taps)

        return compute(call.ty.shape, at, name="pool_max")

    return builder.call_te(loops, *call.args, primfunc_name_hint=f"max_pool{count}d")
