"""Operators that move elements and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tvm import relax

from hwopt.compiler.lower.call import Call, Converter, Spec, Tensor

op = relax.op


def reshape(call: Call, x: Tensor, *_: Any) -> Tensor:
    """Convert every operator whose result has the operand's elements in the same sequence."""
    return call.reshaped(x, call.shape)


def permute(call: Call, x: Tensor, dims: Sequence[int]) -> Tensor:
    """Convert ``permute``: nothing moves but the names of the axes, until somebody asks."""
    return permuted(call, x, [dim % len(x.shape) for dim in dims])


def permuted(call: Call, x: Tensor, dims: Sequence[int]) -> Tensor:
    """Return a tensor whose dimension i is dimension ``dims[i]`` of another."""
    spec = Spec(tuple(x.shape[dim] for dim in dims), x.dtype)
    if x.constant is not None:
        return Tensor(spec, constant=x.constant.permute(list(dims)))
    return Tensor(spec, x.expr, tuple(dims.index(axis) for axis in x.order))


def transpose(call: Call, x: Tensor, first: int, second: int) -> Tensor:
    """Convert ``transpose``."""
    dims = list(range(len(x.shape)))
    if dims:
        dims[first], dims[second] = dims[second], dims[first]
    return permuted(call, x, dims)


def movedim(call: Call, x: Tensor, source: Any, destination: Any) -> Tensor:
    """Convert ``movedim``."""
    rank = len(x.shape)
    moved = [n % rank for n in ([source] if isinstance(source, int) else source)]
    to = [n % rank for n in ([destination] if isinstance(destination, int) else destination)]
    left = iter(n for n in range(rank) if n not in moved)
    dims = [moved[to.index(n)] if n in to else next(left) for n in range(rank)]
    return permuted(call, x, dims)


def expand(call: Call, x: Tensor, *_: Any, **__: Any) -> Tensor:
    """Convert ``expand``."""
    return expanded(call, x, call.shape)


def expanded(call: Call, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a tensor broadcast to a shape."""
    spec = Spec(shape, x.dtype)
    if x.constant is not None:
        return Tensor(spec, constant=x.constant.expand(shape))
    if x.shape == shape:
        return x
    if len(x.shape) == len(shape):
        order, source = x.order, x
    else:
        order, source = tuple(range(len(shape))), call.with_rank(x, len(shape))
    sizes = [shape[axis] for axis in order]
    return Tensor(spec, call.emit(op.broadcast_to(call.ordered(source, order), sizes)), order)


def copied(call: Call, x: Tensor, source: Tensor, *_: Any) -> Tensor:
    """Convert ``copy``: one tensor with the shape and the dtype of another."""
    whole = expanded(call, source, x.shape)
    if whole.constant is not None:
        return Tensor(x.spec, constant=whole.constant.to(getattr(torch, x.dtype)))
    return Tensor(x.spec, call.ordered(whole, whole.order, x.dtype), whole.order)


def repeat(call: Call, x: Tensor, repeats: Sequence[int]) -> Tensor:
    """Convert ``repeat``."""
    source = call.with_rank(x, len(repeats)) if len(repeats) > len(x.shape) else x
    return call.result(call.emit(op.tile(call.plain(source), list(repeats))))


def concat(call: Call, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Convert ``cat``; torch takes empty tensors of one dimension for nothing."""
    rank = len(call.shape)
    parts = [x for x in tensors if not (x.shape == (0,) and rank != 1)]
    order = call.common_order(parts)
    exprs = [call.ordered(x, order, call.dtype) for x in parts]
    if len(exprs) == 1:
        return call.result(exprs[0], order)
    return call.result(call.emit(op.concat(exprs, order.index(dim % rank))), order)


def stack(call: Call, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Convert ``stack``."""
    axis = dim % len(call.shape)
    shape = list(call.shape)
    shape[axis] = 1
    return concat(call, [call.reshaped(x, shape) for x in tensors], axis)


def sliced(call: Call, x: Tensor, dim: int, start: int, end: int, step: int = 1) -> Tensor:
    """Return a part of a tensor along one dimension; start and end are within its size."""
    shape = list(x.shape)
    shape[dim] = max(0, -(-(end - start) // step))
    spec = Spec(tuple(shape), x.dtype)
    if x.constant is not None:
        index = [slice(None)] * len(shape)
        index[dim] = slice(start, end, step)
        return Tensor(spec, constant=x.constant[tuple(index)])
    if shape == list(x.shape):
        return x
    axis = x.order.index(dim)
    found = op.strided_slice(x.expr, [axis], [start], [end], [step])
    return Tensor(spec, call.emit(found), x.order)


def slice_(
    call: Call,
    x: Tensor,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Tensor:
    """Convert ``slice``: ends may lie outside and count from behind, as in Python."""
    dim %= len(x.shape)
    first, last, _ = slice(start, end).indices(x.shape[dim])
    return sliced(call, x, dim, first, max(first, last), step)


def select(call: Call, x: Tensor, dim: int, index: int) -> Tensor:
    """Convert ``select``."""
    dim %= len(x.shape)
    index %= x.shape[dim]
    return squeezed(call, sliced(call, x, dim, index, index + 1), [dim])


def squeezed(call: Call, x: Tensor, dims: Sequence[int]) -> Tensor:
    """Return a tensor without some of its dimensions, which are of size 1."""
    kept = [dim for dim in range(len(x.shape)) if dim not in dims]
    shape = tuple(x.shape[dim] for dim in kept)
    if x.constant is not None:
        return Tensor(Spec(shape, x.dtype), constant=x.constant.reshape(shape))
    if len(kept) == len(x.shape):
        return x
    axes = [x.order.index(dim) for dim in dims]
    order = tuple(kept.index(axis) for axis in x.order if axis in kept)
    return Tensor(Spec(shape, x.dtype), call.emit(op.squeeze(x.expr, axes)), order)


def squeeze(call: Call, x: Tensor, dim: Any = None) -> Tensor:
    """Convert ``squeeze`` of all, one or several dimensions."""
    rank = len(x.shape)
    listed = range(rank) if dim is None else [dim] if isinstance(dim, int) else dim
    asked = [n % max(rank, 1) for n in listed]
    return squeezed(call, x, [n for n in asked if n < rank and x.shape[n] == 1])


def split(call: Call, x: Tensor, sizes: Any, dim: int = 0) -> list[Tensor]:
    """Convert ``split`` and ``chunk``: the results say where the parts end."""
    dim %= len(x.shape)
    parts, start = [], 0
    for spec in call.results:
        parts.append(sliced(call, x, dim, start, start + spec.shape[dim]))
        start += spec.shape[dim]
    return parts


def unbind(call: Call, x: Tensor, dim: int = 0) -> list[Tensor]:
    """Convert ``unbind``."""
    dim %= len(x.shape)
    parts = [sliced(call, x, dim, i, i + 1) for i in range(x.shape[dim])]
    return [squeezed(call, part, [dim]) for part in parts]


CONVERTERS: dict[str, Converter] = {
    **dict.fromkeys(
        [
            "view.default",
            "reshape.default",
            "_unsafe_view.default",
            "flatten.using_ints",
            "unflatten.int",
            "unsqueeze.default",
            "view_as.default",
            "reshape_as.default",
        ],
        reshape,
    ),
    "permute.default": permute,
    "transpose.int": transpose,
    "swapaxes.default": transpose,
    "t.default": lambda call, x: transpose(call, x, 0, -1),
    "movedim.int": movedim,
    "movedim.intlist": movedim,
    "expand.default": expand,
    "expand_as.default": expand,
    "copy.default": copied,
    "broadcast_to.default": expand,
    "repeat.default": repeat,
    "cat.default": concat,
    "stack.default": stack,
    "slice.Tensor": slice_,
    "narrow.default": lambda call, x, dim, start, length: slice_(
        call, x, dim, start % max(1, x.shape[dim]), start % max(1, x.shape[dim]) + length
    ),
    "select.int": select,
    "squeeze.default": squeeze,
    "squeeze.dim": squeeze,
    "squeeze.dims": squeeze,
    "split.Tensor": split,
    "split_with_sizes.default": split,
    "chunk.default": split,
    "unbind.int": unbind,
}
