"""Sorting, and what is found by it."""

from __future__ import annotations

import math
from typing import Any

import torch
from tvm import relax, te, tirx

from hwopt.compiler.loops import broadcasting, compute, dtype_of, is_nan, like
from hwopt.compiler.lower.call import Call, Converter, Spec, Tensor
from hwopt.compiler.lower.comparisons import negated
from hwopt.compiler.lower.indexing import checked
from hwopt.compiler.lower.movement import sliced

op = relax.op


def _key(x: Any) -> Any:
    """Return a whole number that grows with a float; NaN has the largest.

    The bits of floats below zero fall where the numbers grow, all but the first.
    """
    bits, largest = {"float32": ("int32", 2**31 - 1), "float64": ("int64", 2**63 - 1)}[dtype_of(x)]
    one = tirx.reinterpret(bits, x)
    ordered = tirx.Select(one < 0, tirx.bitwise_xor(one, tirx.const(largest, bits)), one)
    ordered = tirx.Select(x == like(x, 0), tirx.const(0, bits), ordered)
    return tirx.Select(is_nan(x), tirx.const(largest, bits), ordered)


def sort(call: Call, x: Tensor, dim: int = -1, descending: bool = False, **_: Any) -> list[Tensor]:
    """Convert ``sort``: equal numbers stay in their sequence."""
    if not x.shape:
        return [x, Tensor(Spec((), "int64"), constant=torch.tensor(0))]
    if x.dtype == "bool":
        numbers = call.temporary(call.plain(x, "uint8"), Spec(x.shape, "uint8"))
        values, places = sort(call, numbers, dim, descending)
        return [call.temporary(call.plain(values, "bool"), x.spec), places]
    axis = dim % len(x.shape)
    data = call.plain(x)
    keys = data
    if x.dtype.startswith("float"):
        keys = call.te(broadcasting(_key, x.shape), data, name="sort_keys")
    elif x.dtype not in ("int32", "int64"):
        keys = call.plain(x, "int32")  # TVM's sort knows no others
    places = call.emit(op.argsort(keys, axis, descending, "int64"))
    found = call.emit(op.gather_elements(data, places, axis))
    return [call.temporary(found, x.spec), call.temporary(places, Spec(x.shape, "int64"))]


def at_rank(call: Call, x: Tensor, rank: int, dim: int, keepdim: bool) -> list[Tensor]:
    """Return the number at a rank of the sorted ones along a dimension, and its place."""
    if not x.shape:
        return sort(call, x)
    axis = dim % len(x.shape)
    shape = [1 if n == axis else size for n, size in enumerate(x.shape)]
    shape = shape if keepdim else [size for n, size in enumerate(x.shape) if n != axis]
    parts = [sliced(call, part, axis, rank, rank + 1) for part in sort(call, x, axis)]
    return [call.reshaped(part, shape) for part in parts]


def kthvalue(call: Call, x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> list[Tensor]:
    """Convert ``kthvalue``."""
    return at_rank(call, x, k - 1, dim, keepdim)


def topk(
    call: Call, x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> list[Tensor]:
    """Convert ``topk``."""
    if not x.shape:
        return [x, Tensor(Spec((), "int64"), constant=torch.tensor(0))]
    both = call.emit(op.topk(call.plain(x), k, dim % len(x.shape), "both", largest, "int64"))
    return [call.result(call.emit(relax.TupleGetItem(both, n)), index=n) for n in range(2)]


def _median(ignores_nan: bool) -> Converter:
    """Return a converter for ``median`` along a dimension: the lower of two in the middle.

    ``median`` is the first NaN where there is one, ``nanmedian`` that of the other numbers.
    """

    def convert(call: Call, x: Tensor, dim: int, keepdim: bool = False) -> list[Tensor]:
        if not x.shape or not x.dtype.startswith("float"):
            return at_rank(call, x, (x.shape[dim] - 1) // 2 if x.shape else 0, dim, keepdim)
        axis = dim % len(x.shape)
        rank = _rank_of_median(call, x, axis, ignores_nan)
        kept = tuple(1 if n == axis else size for n, size in enumerate(x.shape))
        shape = kept if keepdim else tuple(n for d, n in enumerate(kept) if d != axis)
        parts = []
        for part in sort(call, x, axis):  # NaN is last
            found = call.emit(op.gather_elements(call.plain(part), rank, axis))
            parts.append(call.reshaped(call.temporary(found, Spec(kept, part.dtype)), shape))
        return parts

    return convert


def _rank_of_median(call: Call, x: Tensor, axis: int, ignores_nan: bool) -> Any:
    """Emit where the median of each row stands when it is sorted, with one place along the axis."""
    size = x.shape[axis]
    shape = [1 if n == axis else count for n, count in enumerate(x.shape)]

    def describe(data: te.Tensor) -> te.Tensor:
        along = te.reduce_axis((0, size), name="along")

        def is_number(*place: Any) -> Any:
            one = data(*place[:axis], along, *place[axis + 1 :])
            return te.sum(tirx.Cast("int64", negated(is_nan(one))), axis=along)

        numbers = compute(shape, is_number, "numbers")

        def rank(*place: Any) -> Any:
            count = numbers(*place)
            middle = tirx.max(tirx.floordiv(count - 1, 2), tirx.const(0, "int64"))
            return middle if ignores_nan else tirx.Select(count < size, count, middle)

        return compute(shape, rank, "rank")

    return call.te(describe, call.plain(x), name="median_rank")


def _median_of_all(ignores_nan: bool) -> Converter:
    along = _median(ignores_nan)

    def convert(call: Call, x: Tensor) -> Tensor:
        return along(call, call.reshaped(x, (math.prod(x.shape),)), 0)[0]

    return convert


def searchsorted(
    call: Call,
    sequence: Tensor,
    x: Any,
    *,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
    **_: Any,
) -> Tensor:
    """Convert ``searchsorted``: how many of a sequence are less than a number, or not greater."""
    dtype = call.promoted(sequence, x)
    data = call.plain(sequence, dtype)
    if sorter is not None:
        places = checked(call, sorter, sequence.shape[-1], "the sequence", from_behind=False)
        data = call.emit(op.gather_elements(data, places, len(sequence.shape) - 1))
    numbers = call.plain(x, dtype) if isinstance(x, Tensor) else call.number(x, dtype)
    is_right = right or side == "right"
    batch = len(sequence.shape) - 1

    def describe(row: te.Tensor, wanted: te.Tensor) -> te.Tensor:
        along = te.reduce_axis((0, sequence.shape[-1]), name="along")

        def at(*place: Any) -> Any:
            one, number = row(*place[:batch], along), wanted(*place)
            # NaN is behind all numbers.
            is_behind = one > number if is_right else one >= number
            return te.sum(tirx.Cast(call.dtype, negated(is_behind)), axis=along)

        return compute(call.shape, at, "searchsorted")

    return call.result(call.te(describe, data, numbers))


def bucketize(call: Call, x: Any, boundaries: Tensor, **options: Any) -> Tensor:
    """Convert ``bucketize``."""
    return searchsorted(call, boundaries, x, **options)


CONVERTERS: dict[str, Converter] = {
    "sort.default": sort,
    "sort.stable": lambda call, x, stable=None, dim=-1, descending=False, **_: sort(
        call, x, dim, descending
    ),
    "kthvalue.default": kthvalue,
    "topk.default": topk,
    "median.dim": _median(ignores_nan=False),
    "median.default": _median_of_all(ignores_nan=False),
    "nanmedian.dim": _median(ignores_nan=True),
    "nanmedian.default": _median_of_all(ignores_nan=True),
    "searchsorted.Tensor": searchsorted,
    "searchsorted.Scalar": searchsorted,
    "bucketize.Tensor": bucketize,
    "bucketize.Scalar": bucketize,
}
