"""Sums, means, extremes and their like over some dimensions, and along one of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm import relax, te, tirx

from hwopt.compiler.loops import compute, dtype_of, is_float, is_nan
from hwopt.compiler.lower.call import Call, Converter, Order, Spec, Tensor

op = relax.op


def _dims(x: Tensor, dim: Any) -> list[int]:
    """Return the dimensions that are reduced; none named means all."""
    rank = len(x.shape)
    if dim is None or (not isinstance(dim, int) and len(dim) == 0):
        return list(range(rank))
    listed = [dim] if isinstance(dim, int) else list(dim)
    return [n % rank for n in listed] if rank else []


def _order_after(x: Tensor, dims: list[int], keepdim: bool) -> Order:
    if keepdim:
        return x.order
    kept = [dim for dim in range(len(x.shape)) if dim not in dims]
    return tuple(kept.index(axis) for axis in x.order if axis in kept)


def reduced(
    call: Call, function: Callable[..., Any], x: Tensor, dim: Any, keepdim: bool, dtype: str
) -> Tensor:
    """Emit a Relax reduction in the order in which the tensor stands; bools are 0 and 1 for it."""
    if dtype == "bool":
        found = reduced(call, function, x, dim, keepdim, "uint8")
        expr = call.ordered(found, found.order, "bool")
        return Tensor(Spec(found.shape, "bool"), expr, found.order)
    dims = _dims(x, dim)
    data = call.ordered(x, x.order, dtype)
    if not x.shape:
        data = call.emit(op.reshape(data, (1,)))
        found = call.emit(function(data, [0], False))
        return Tensor(Spec((), dtype), found)
    axes = [x.order.index(n) for n in dims]
    shape = tuple(
        1 if n in dims else size for n, size in enumerate(x.shape) if keepdim or n not in dims
    )
    found = call.emit(function(data, axes, keepdim))
    return Tensor(Spec(shape, dtype), found, _order_after(x, dims, keepdim))


def reduction(function: Callable[..., Any], dtype: str | None = None) -> Converter:
    """Return a converter for ``op(x, dim=None, keepdim=False, *, dtype=None)``."""

    def convert(call: Call, x: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
        return reduced(call, function, x, dim, keepdim, dtype or call.dtype)

    return convert


def _mean(call: Call, x: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
    return reduced(call, op.mean, x, dim, keepdim, call.dtype)


def _truth(any_or_all: Callable[..., Any]) -> Converter:
    """Return a converter for ``any`` and ``all``: extremes of zeros and ones."""

    def convert(call: Call, x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
        truth = Tensor(Spec(x.shape, "bool"), call.ordered(x, x.order, "bool"), x.order)
        found = reduced(call, any_or_all, truth, dim, keepdim, "bool")
        # Of bytes torch returns bytes.
        expr = call.ordered(found, found.order, call.dtype)
        return Tensor(Spec(found.shape, call.dtype), expr, found.order)

    return convert


def variance(
    call: Call, x: Tensor, dim: Any = None, correction: Any = 1, keepdim: bool = False
) -> Tensor:
    """Convert ``var``: the mean square of what is left without the mean."""
    dims = _dims(x, dim)
    count = math.prod(x.shape[n] for n in dims)
    mean = reduced(call, op.mean, x, dims, True, call.dtype)
    left = call.emit(op.subtract(call.ordered(x, x.order), call.ordered(mean, x.order)))
    square = call.temporary(call.emit(op.multiply(left, left)), x.spec, x.order)
    total = reduced(call, op.sum, square, dims, keepdim, call.dtype)
    divisor = max(0, count - (1 if correction is None else correction))
    expr = op.divide(total.expr, call.number(float(divisor), call.dtype))
    return Tensor(total.spec, call.emit(expr), total.order)


def variance_and_mean(
    call: Call, x: Tensor, dim: Any = None, correction: Any = 1, keepdim: bool = False
) -> list[Tensor]:
    """Convert ``var_mean``."""
    found = variance(call, x, dim, correction, keepdim)
    return [found, reduced(call, op.mean, x, _dims(x, dim), keepdim, call.dtype)]


def extreme_place(is_max: bool, last: bool = False) -> Callable[..., te.Tensor]:
    """Return a reducer of (place, value) pairs to the first, or last, extreme; NaN is ahead of all.

    Args:
        is_max: whether the largest is looked for.
        last: of equal ones the last place is taken.
    """

    def combine(one: Any, other: Any) -> Any:
        (i, a), (j, b) = one, other
        ahead = a > b if is_max else a < b
        equal = a == b
        if is_float(a):
            ahead = tirx.Select(is_nan(b), tirx.const(False, "bool"), tirx.any(ahead, is_nan(a)))
            equal = tirx.any(equal, tirx.all(is_nan(a), is_nan(b)))
        keeps = tirx.any(ahead, tirx.all(equal, i > j if last else i < j))
        return tuple(tirx.Select(keeps, x, y) for x, y in zip(one, other, strict=True))

    def identity(index: Any, value: Any) -> Any:
        return tirx.const(-(2**62) if last else 2**62, str(index)), least_of(str(value), is_max)

    return te.comm_reducer(combine, identity, name="extreme")


def extremes(call: Call, x: Tensor, dim: int, keepdim: bool, is_max: bool) -> list[Tensor]:
    """Emit (value, place) of the extremes along a dimension, in torch's order of axes."""
    rank = len(x.shape)
    if rank == 0:
        zero = call.temporary(call.number(0, "int64"), Spec((), "int64"))
        return [x, zero]
    axis = dim % rank
    reducer = extreme_place(is_max)
    shape = [n for i, n in enumerate(x.shape) if i != axis]

    def describe(data: te.Tensor) -> list[te.Tensor]:
        along = te.reduce_axis((0, x.shape[axis]), name="along")
        number = data if str(data.dtype) != "bool" else None

        def at(*index: Any) -> Any:
            place = [*index[:axis], along, *index[axis:]]
            value = data(*place) if number is not None else tirx.Cast("int8", data(*place))
            return reducer((tirx.Cast("int64", along), value), axis=along)

        places, values = compute(shape, at, name="extreme")
        if number is None:
            values = compute(shape, lambda *i: tirx.Cast("bool", values(*i)), name="truth")
        return [values, places]

    both = call.te(describe, call.plain(x))
    parts = []
    for n, dtype in enumerate((x.dtype, "int64")):
        part = call.temporary(call.emit(relax.TupleGetItem(both, n)), Spec(tuple(shape), dtype))
        kept = [*shape[:axis], 1, *shape[axis:]] if keepdim else shape
        parts.append(call.reshaped(part, kept))
    return parts


def _with_place(is_max: bool) -> Converter:
    def convert(call: Call, x: Tensor, dim: int, keepdim: bool = False) -> list[Tensor]:
        return extremes(call, x, dim, keepdim, is_max)

    return convert


def _place(is_max: bool) -> Converter:
    def convert(call: Call, x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
        if dim is None:
            flat = call.reshaped(x, (math.prod(x.shape),))
            found = extremes(call, flat, 0, False, is_max)[1]
            return call.reshaped(found, call.shape)
        return extremes(call, x, dim, keepdim, is_max)[1]

    return convert


def softmax(function: Callable[..., Any]) -> Converter:
    """Return a converter for ``softmax`` and ``log_softmax`` along a dimension."""

    def convert(call: Call, x: Tensor, dim: int, *_: Any) -> Tensor:
        if not x.shape:
            one = call.with_rank(x, 1)
            found = call.emit(function(call.plain(one, call.dtype), 0))
            return call.reshaped(call.temporary(found, Spec((1,), call.dtype)), ())
        axis = x.order.index(dim % len(x.shape))
        data = call.ordered(x, x.order, call.dtype)
        return call.result(call.emit(function(data, axis)), x.order)

    return convert


def scan(function: Callable[..., Any]) -> Converter:
    """Return a converter for ``cumsum`` and ``cumprod``."""

    def convert(call: Call, x: Tensor, dim: int, **_: Any) -> Tensor:
        if not x.shape:
            return call.temporary(call.plain(x, call.dtype), call.results[0])
        data = call.plain(x, call.dtype)
        return call.result(call.emit(function(data, dim % len(x.shape), call.dtype)))

    return convert


def _running_extreme(is_max: bool) -> Converter:
    """Return a converter for ``cummax`` and ``cummin``: of equal numbers the last one's place."""

    def convert(call: Call, x: Tensor, dim: int) -> list[Tensor]:
        if not x.shape:
            return [x, call.temporary(call.number(0, "int64"), Spec((), "int64"))]
        axis = dim % len(x.shape)
        reducer = extreme_place(is_max, last=True)
        size = x.shape[axis]

        def describe(data: te.Tensor) -> list[te.Tensor]:
            along = te.reduce_axis((0, size), name="along")

            def at(*index: Any) -> Any:
                value = data(*index[:axis], along, *index[axis + 1 :])
                least = least_of(dtype_of(value), is_max)
                is_before = along <= index[axis]
                place = tirx.if_then_else(
                    is_before, tirx.Cast("int64", along), tirx.const(-1, "int64")
                )
                return reducer((place, tirx.if_then_else(is_before, value, least)), axis=along)

            places, values = compute(x.shape, at, "running")
            return [values, places]

        data = call.plain(x, "uint8" if x.dtype == "bool" else x.dtype)
        both = call.te(describe, data)
        parts = [call.emit(relax.TupleGetItem(both, n)) for n in range(2)]
        if x.dtype == "bool":
            parts[0] = call.cast(parts[0], "uint8", "bool")
        return [call.result(part, index=n) for n, part in enumerate(parts)]

    return convert


def least_of(dtype: str, is_max: bool = True) -> Any:
    """Return what every number is ahead of."""
    if dtype.startswith("float"):
        return tirx.const(-math.inf if is_max else math.inf, dtype)
    return tirx.min_value(dtype) if is_max else tirx.max_value(dtype)


def _all_of(call: Call, x: Tensor, **options: Any) -> Tensor:
    return reduced(call, op.sum, x, None, False, call.dtype)


CONVERTERS: dict[str, Converter] = {
    "sum.dim_IntList": reduction(op.sum),
    "sum.default": _all_of,
    "mean.dim": _mean,
    "mean.default": _mean,
    "prod.dim_int": reduction(op.prod),
    "prod.default": lambda call, x, **_: reduced(call, op.prod, x, None, False, call.dtype),
    "amax.default": reduction(op.max),
    "amin.default": reduction(op.min),
    "max.default": lambda call, x: reduced(call, op.max, x, None, False, call.dtype),
    "min.default": lambda call, x: reduced(call, op.min, x, None, False, call.dtype),
    "any.default": _truth(op.max),
    "any.dim": _truth(op.max),
    "any.dims": _truth(op.max),
    "all.default": _truth(op.min),
    "all.dim": _truth(op.min),
    "all.dims": _truth(op.min),
    "var.correction": variance,
    "var.dim": lambda call, x, dim, unbiased=True, keepdim=False: variance(
        call, x, dim, int(unbiased), keepdim
    ),
    "var_mean.correction": variance_and_mean,
    "max.dim": _with_place(is_max=True),
    "min.dim": _with_place(is_max=False),
    "argmax.default": _place(is_max=True),
    "argmin.default": _place(is_max=False),
    "softmax.int": softmax(op.nn.softmax),
    "_softmax.default": softmax(op.nn.softmax),
    "log_softmax.int": softmax(op.nn.log_softmax),
    "_log_softmax.default": softmax(op.nn.log_softmax),
    "cumsum.default": scan(op.cumsum),
    "cumprod.default": scan(op.cumprod),
    "cummax.default": _running_extreme(is_max=True),
    "cummin.default": _running_extreme(is_max=False),
}
