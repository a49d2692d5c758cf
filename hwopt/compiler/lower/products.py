"""Matrix products, and what else multiplies any two of many."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from tvm import relax, te, tirx

from hwopt.compiler.loops import compute, like
from hwopt.compiler.lower.call import Call, Converter, Spec, Tensor
from hwopt.compiler.lower.elementwise import elementwise
from hwopt.compiler.lower.indexing import taken
from hwopt.compiler.lower.movement import expanded, permuted

op = relax.op


def _transposed(call: Call, matrix: Tensor) -> Tensor:
    """Return a matrix, or each of many, transposed."""
    *others, last, first = range(len(matrix.shape))
    return permuted(call, matrix, [*others, first, last])


def linear(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convert ``linear``."""
    if len(weight.shape) == 1:
        weight = call.reshaped(weight, (1, *weight.shape))
    turned = _transposed(call, weight)
    rows = x if len(x.shape) > 1 else call.reshaped(x, (1, *x.shape))
    found = call.emit(op.matmul(call.plain(rows), call.plain(turned)))
    if bias is not None:
        found = call.emit(op.add(found, call.plain(bias)))
    shape = (*rows.shape[:-1], weight.shape[0])
    return call.reshaped(call.temporary(found, Spec(shape, call.dtype)), call.shape)


def matmul(call: Call, x: Tensor, y: Tensor) -> Tensor:
    """Convert products of vectors, matrices, and many matrices."""
    return call.result(product(call, call.plain(x, call.dtype), call.plain(y, call.dtype)))


def product(call: Call, x: Any, y: Any) -> Any:
    """Return a product in Relax; without terms all sums are zero."""
    if int(x.ty.shape[-1]) == 0:
        return call.constant(torch.zeros(call.shape, dtype=getattr(torch, call.dtype)))
    return call.emit(op.matmul(x, y))


def addmm(
    call: Call, x: Any, first: Tensor, second: Tensor, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """Convert ``addmm`` and ``baddbmm``: ``beta * x + alpha * first @ second``."""
    found = product(call, call.plain(first, call.dtype), call.plain(second, call.dtype))
    scaled = call.result(found)

    def times(value: Any, factor: Any) -> Any:
        if factor == 1:
            return value
        return call.emit(op.multiply(value, call.number(factor, call.dtype)))

    if beta == 0:
        return call.result(times(found, alpha))

    def both(addend: Any, made: Any) -> Any:
        return op.add(times(made, alpha), times(addend, beta))

    return elementwise(call, both, (x, scaled), call.dtype)


def addbmm(
    call: Call, x: Any, first: Tensor, second: Tensor, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """Convert ``addbmm``: the products of all pairs of matrices are one of longer matrices."""
    count, rows, inner = first.shape
    wide = call.reshaped(permuted(call, first, [1, 0, 2]), (rows, count * inner))
    high = call.reshaped(second, (count * inner, second.shape[2]))
    return addmm(call, x, wide, high, beta=beta, alpha=alpha)


def distances(call: Call, first: Tensor, second: Tensor, p: float, *_: Any) -> Tensor:
    """Convert ``cdist``: the norm of the difference of any two rows."""
    *batch, rows, columns = call.shape
    size = first.shape[-1]
    left = expanded(call, first, (*batch, rows, size)) if batch else first
    right = expanded(call, second, (*batch, columns, size)) if batch else second
    if size == 0:
        zeros = torch.zeros(call.shape, dtype=getattr(torch, call.dtype))
        return Tensor(Spec.of(zeros), constant=zeros)
    return call.result(call.te(_norms(p, size), call.plain(left), call.plain(right)))


def distances_of_pairs(call: Call, x: Tensor, p: float = 2.0) -> Tensor:
    """Convert ``pdist``: the norm of the difference of each row and every one behind it."""
    rows, size = x.shape
    if size == 0 or rows < 2:
        zeros = torch.zeros(call.shape, dtype=getattr(torch, call.dtype))
        return Tensor(Spec.of(zeros), constant=zeros)
    whole = call.te(_norms(p, size), call.plain(x), call.plain(x))
    row = call.emit(op.reshape(whole, (rows * rows,)))
    places = torch.arange(rows * rows).reshape(rows, rows)[tuple(torch.triu_indices(rows, rows, 1))]
    return call.result(taken(call, row, call.constant(places), 0))


def _norms(p: float, size: int) -> Callable[..., te.Tensor]:
    """Return the description of the norms of differences of rows."""

    def describe(first: te.Tensor, second: te.Tensor) -> te.Tensor:
        k = te.reduce_axis((0, size), name="k")
        shape = [*first.shape[:-1], second.shape[-2]]
        dtype = str(first.dtype)
        power = tirx.const(p, dtype)

        def term(*place: Any) -> Any:
            *batch, row, column = place
            left = tirx.abs(first(*batch, row, k) - second(*batch, column, k))
            if p == 0:
                one, none = like(left, 1), like(left, 0)
                counted = tirx.Select(left > none, one, tirx.Select(left <= none, none, left))
                return te.sum(counted, axis=[k])
            if math.isinf(p):
                return te.max(left, axis=[k])  # torch passes over NaN here
            if p in (1, 2):
                return te.sum(left if p == 1 else left * left, axis=[k])
            return te.sum(tirx.pow(left, power), axis=[k])

        sums = compute(shape, term, "sums")
        if p in (0, 1) or math.isinf(p):
            return sums
        if p == 2:
            return compute(shape, lambda *i: tirx.sqrt(sums(*i)), "distances")
        return compute(shape, lambda *i: tirx.pow(sums(*i), tirx.const(1 / p, dtype)), "distances")

    return describe


def bilinear(
    call: Call, first: Tensor, second: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Convert ``bilinear``: for each output a matrix between the two inputs."""
    outputs, left, right = weight.shape
    turned = permuted(call, weight, [1, 0, 2])
    matrix = call.plain(call.reshaped(turned, (left, outputs * right)))
    rows = call.plain(call.reshaped(first, (_rows(first), left)))
    made = call.emit(op.reshape(call.emit(op.matmul(rows, matrix)), (_rows(first), outputs, right)))
    others = call.plain(call.reshaped(second, (_rows(first), 1, right)))
    found = call.emit(op.sum(call.emit(op.multiply(made, others)), [2], False))
    if bias is not None:
        found = call.emit(op.add(found, call.plain(bias)))
    return call.reshaped(
        call.temporary(found, Spec((_rows(first), outputs), call.dtype)), call.shape
    )


def _rows(x: Tensor) -> int:
    return math.prod(x.shape[:-1])


CONVERTERS: dict[str, Converter] = {
    "linear.default": linear,
    "matmul.default": matmul,
    "mm.default": matmul,
    "bmm.default": matmul,
    "mv.default": matmul,
    "dot.default": matmul,
    "addbmm.default": addbmm,
    "_cdist_forward.default": distances,
    "_pdist_forward.default": distances_of_pairs,
    "bilinear.default": bilinear,
    "addmm.default": addmm,
    "baddbmm.default": addmm,
}
