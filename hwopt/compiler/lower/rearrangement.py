"""Operators that read elements from other places: flips, rolls, diagonals, views by strides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tvm import te, tirx

from hwopt.compiler.loops import compute
from hwopt.compiler.lower.call import Call, Converter, Tensor


def flip(call: Call, x: Tensor, dims: Sequence[int]) -> Tensor:
    """Convert ``flip``."""
    return flipped(call, x, [dim % len(x.shape) for dim in dims] if x.shape else [])


def flipped(call: Call, x: Tensor, dims: Sequence[int]) -> Tensor:
    """Return a tensor whose last element along some dimensions is the first one."""
    if x.constant is not None:
        return Tensor(x.spec, constant=x.constant.flip(list(dims)))
    axes = {x.order.index(dim) for dim in dims}

    def describe(data: te.Tensor) -> te.Tensor:
        def at(*index: Any) -> Any:
            sized = enumerate(zip(index, data.shape, strict=True))
            return data(*(n - 1 - i if axis in axes else i for axis, (i, n) in sized))

        return compute(data.shape, at, name="flip")

    return Tensor(x.spec, call.te(describe, x.expr, name="flip"), x.order)


def roll(call: Call, x: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Tensor:
    """Convert ``roll``; without dimensions all elements are one row."""
    if not dims:
        flat = call.reshaped(x, (math.prod(x.shape),))
        return call.reshaped(_rolled(call, flat, {0: sum(shifts)}), x.shape)
    by: dict[int, int] = {}
    for shift, dim in zip(shifts, dims, strict=True):
        by[dim % len(x.shape)] = by.get(dim % len(x.shape), 0) + shift
    return _rolled(call, x, by)


def _rolled(call: Call, x: Tensor, shifts: dict[int, int]) -> Tensor:
    by = {x.order.index(dim): shift for dim, shift in shifts.items()}

    def describe(data: te.Tensor) -> te.Tensor:
        def at(*index: Any) -> Any:
            places = list(index)
            for axis, shift in by.items():
                size = int(data.shape[axis])
                back = -shift % size if size else 0
                place = index[axis] + back
                places[axis] = tirx.if_then_else(place < size, place, place - size)
            return data(*places)

        return compute(data.shape, at, name="roll")

    return Tensor(x.spec, call.te(describe, call.ordered(x, x.order)), x.order)


def as_strided(
    call: Call, x: Tensor, size: Sequence[int], stride: Sequence[int], offset: int | None = None
) -> Tensor:
    """Convert ``as_strided`` of a tensor whose elements stand in torch's order."""
    count = math.prod(x.shape)
    reach = (offset or 0) + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if reach >= count:
        raise call.refuse("a reach beyond the tensor, into the memory of another,")
    flat = call.plain(call.reshaped(x, (count,)))

    def describe(data: te.Tensor) -> te.Tensor:
        def at(*index: Any) -> Any:
            return data(sum((i * s for i, s in zip(index, stride, strict=True)), offset or 0))

        return compute(size, at, name="as_strided")

    return call.result(call.te(describe, flat))


def diagonal(call: Call, x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Convert ``diagonal``."""
    first, second = dim1 % len(x.shape), dim2 % len(x.shape)

    def describe(data: te.Tensor) -> te.Tensor:
        def at(*index: Any) -> Any:
            *others, along = index
            left = iter(others)
            places = {first: along + max(0, -offset), second: along + max(0, offset)}
            return data(*(places[n] if n in places else next(left) for n in range(len(x.shape))))

        return compute(call.shape, at, name="diagonal")

    return call.result(call.te(describe, call.plain(x)))


CONVERTERS: dict[str, Converter] = {
    "flip.default": flip,
    "roll.default": roll,
    "as_strided.default": as_strided,
    "diagonal.default": diagonal,
}
