"""Normalizations by a mean and a variance, known or of the input itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tvm import relax, te, tirx

from hwopt.compiler.loops import compute
from hwopt.compiler.lower.call import Call, Converter, Order, Tensor

op = relax.op


def layer_norm(
    call: Call,
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    """Convert ``layer_norm``, with or without weight and bias."""
    rank, count = len(x.shape), len(shape)
    first = rank - count

    def describe(data: te.Tensor, *scale_and_shift: te.Tensor) -> te.Tensor:
        over = [te.reduce_axis((0, n), name="k") for n in x.shape[first:]]

        def read(*place: Any) -> Any:
            return data(*place[:first], *over)

        mean, inverse = _statistics(read, x.shape[:first], over, math.prod(shape), eps)

        def at(*place: Any) -> Any:
            found = (data(*place) - mean(*place[:first])) * inverse(*place[:first])
            return _scaled(found, place[first:], weight, bias, scale_and_shift)

        return compute(x.shape, at, "layer_norm")

    given = [call.plain(one, x.dtype) for one in (weight, bias) if one is not None]
    return call.result(call.te(describe, call.plain(x), *given))


def _statistics(
    read: Callable[..., Any],
    shape: Sequence[int],
    over: list[Any],
    count: int,
    eps: float,
) -> tuple[te.Tensor, te.Tensor]:
    """Describe mean and inverse deviation, from what is left without the mean.

    The mean of squares less the square of the mean, which takes one turn less, has no digits left
    where numbers differ little.
    """
    total = compute(shape, lambda *i: te.sum(read(*i), axis=over), "total")
    mean = compute(shape, lambda *i: total(*i) / _like(total, count), "mean")

    def square(*place: Any) -> Any:
        left = read(*place) - mean(*place)
        return te.sum(left * left, axis=over)

    squares = compute(shape, square, "squares")

    def inverse(*place: Any) -> Any:
        variance = squares(*place) / _like(squares, count)
        return _like(squares, 1) / tirx.sqrt(variance + _like(squares, eps))

    return mean, compute(shape, inverse, "inverse")


def _like(tensor: te.Tensor, value: float) -> Any:
    return tirx.const(value, str(tensor.dtype))


def _scaled(
    x: Any,
    place: Sequence[Any],
    weight: Tensor | None,
    bias: Tensor | None,
    scale_and_shift: Sequence[te.Tensor],
) -> Any:
    """Multiply by the weight and add the bias, where there are such."""
    left = list(scale_and_shift)
    if weight is not None:
        x = x * left.pop(0)(*place)
    return x + left.pop(0)(*place) if bias is not None else x


def native_layer_norm(call: Call, x: Tensor, shape: Sequence[int], *others: Any) -> list[Tensor]:
    """Convert the same as core ATen has it: with the mean and the inverse deviation."""
    *_, eps = others
    axes = list(range(-len(shape), 0))
    mean, inverse = moments(call, call.plain(x), axes, eps, x.dtype)
    found = layer_norm(call, x, shape, *others)
    return [found, call.result(mean, index=1), call.result(inverse, index=2)]


def moments(call: Call, x: Any, axes: list[int], eps: float, dtype: str) -> tuple[Any, Any]:
    """Return mean and inverse deviation over axes, which stay with one element."""
    mean = call.emit(op.mean(x, axes, True))
    left = call.emit(op.subtract(x, mean))
    square = call.emit(op.mean(call.emit(op.multiply(left, left)), axes, True))
    return mean, call.emit(op.rsqrt(call.emit(op.add(square, call.number(eps, dtype)))))


def group_norm(
    call: Call,
    x: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    """Convert ``group_norm``, with or without weight and bias."""
    if len(x.shape) == 2:
        wide = call.reshaped(x, (*x.shape, 1))
        return call.reshaped(group_norm(call, wide, groups, weight, bias, eps), x.shape)
    order: Order = x.order
    batch, channels = x.shape[:2]
    each = channels // groups
    sizes = [x.shape[dim] for dim in order]

    def describe(data: te.Tensor, *scale_and_shift: te.Tensor) -> te.Tensor:
        inner = te.reduce_axis((0, each), name="c")
        others = {dim: te.reduce_axis((0, x.shape[dim]), name="k") for dim in order if dim > 1}

        def read(row: Any, group: Any) -> Any:
            by = {0: row, 1: group * each + inner, **others}
            return data(*(by[dim] for dim in order))

        count = each * math.prod(x.shape[2:])
        over = [inner, *others.values()]
        mean, inverse = _statistics(read, (batch, groups), over, count, eps)

        def at(*place: Any) -> Any:
            by = dict(zip(order, place, strict=True))
            where = (by[0], tirx.floordiv(by[1], each))
            found = (data(*place) - mean(*where)) * inverse(*where)
            return _scaled(found, [by[1]], weight, bias, scale_and_shift)

        return compute(sizes, at, "group_norm")

    given = [call.plain(one, x.dtype) for one in (weight, bias) if one is not None]
    found = call.te(describe, call.ordered(x, order), *given)
    return call.temporary(found, x.spec, order)


def native_group_norm(
    call: Call,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    batch: int,
    _channels: int,
    _size: int,
    groups: int,
    eps: float,
) -> list[Tensor]:
    """Convert the same as core ATen has it: with the means and the inverse deviations."""
    shape = (batch, groups, math.prod(x.shape) // max(1, batch * groups))
    parts = call.plain(call.reshaped(x, shape))
    found_moments = [
        call.emit(op.reshape(one, (batch, groups)))
        for one in moments(call, parts, [2], eps, x.dtype)
    ]
    found = group_norm(call, x, groups, weight, bias, eps)
    return [found, *(call.result(one, index=n + 1) for n, one in enumerate(found_moments))]


def rms_norm(
    call: Call, x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: Any = None
) -> Tensor:
    """Convert ``rms_norm``: by the root of the mean square."""
    least = torch.finfo(getattr(torch, x.dtype)).eps if eps is None else eps
    data = call.plain(x)
    axes = list(range(-len(shape), 0))
    square = call.emit(op.mean(call.emit(op.multiply(data, data)), axes, True))
    inverse = call.emit(op.rsqrt(call.emit(op.add(square, call.number(least, x.dtype)))))
    found = call.emit(op.multiply(data, inverse))
    if weight is not None:
        found = call.emit(op.multiply(found, call.plain(weight)))
    return call.result(found)


CONVERTERS: dict[str, Converter] = {
    "layer_norm.default": layer_norm,
    "native_layer_norm.default": native_layer_norm,
    "group_norm.default": group_norm,
    "native_group_norm.default": native_group_norm,
    "rms_norm.default": rms_norm,
}
