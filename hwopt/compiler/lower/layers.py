"""Convolutions, matrix products and what else multiplies by weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tvm import relax, te, tirx, topi

from hwopt.compiler.loops import compute, like
from hwopt.compiler.lower.call import Call, Converter, Order, Spec, Tensor
from hwopt.compiler.lower.elementwise import elementwise
from hwopt.compiler.lower.movement import expanded, flipped, padded, permuted

op = relax.op
FIRST: dict[int, Order] = {n: tuple(range(n + 2)) for n in (1, 2, 3)}
LAST: Order = (0, 2, 3, 1)
_LAYOUTS = {1: ("NCW", "OIW"), 2: ("NCHW", "OIHW"), 3: ("NCDHW", "OIDHW")}


def _listed(given: Any, count: int) -> list[int]:
    """Return one number a spatial dimension; torch takes one for all."""
    numbers = [given] if isinstance(given, int) else list(given)
    return numbers * count if len(numbers) == 1 else numbers


def convolution(
    call: Call,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Convert ``conv1d``, ``conv2d`` and ``conv3d``; images are computed channels last."""
    spatial = len(weight.shape) - 2
    batched = _with_batch(call, x, spatial)
    steps, pads, gaps = (_listed(given, spatial) for given in (stride, padding, dilation))
    found = _convolved(call, batched, weight, steps, pads, gaps, groups)
    return _finished(call, _with_bias(call, found, bias), x is not batched)


def _with_batch(call: Call, x: Tensor, spatial: int) -> Tensor:
    """Return a tensor with a batch; torch takes one example without."""
    return x if len(x.shape) == spatial + 2 else call.reshaped(x, (1, *x.shape))


def _finished(call: Call, found: Tensor, was_single: bool) -> Tensor:
    return call.reshaped(found, call.shape) if was_single else found


def _convolved(
    call: Call,
    x: Tensor,
    weight: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> Tensor:
    """Emit a convolution without bias, of a batch."""
    spatial = len(stride)
    sizes = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(
            x.shape[2:], padding, dilation, weight.shape[2:], stride, strict=True
        )
    ]
    spec = Spec((x.shape[0], weight.shape[0], *sizes), call.dtype)
    options = {"strides": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if spatial == 2:
        weights = call.ordered(weight, (2, 3, 1, 0))
        found = op.nn.conv2d(
            call.ordered(x, LAST), weights, data_layout="NHWC", kernel_layout="HWIO", **options
        )
        return call.temporary(call.emit(found), spec, LAST)
    function = {1: op.nn.conv1d, 3: op.nn.conv3d}[spatial]
    data_layout, kernel_layout = _LAYOUTS[spatial]
    found = function(
        call.plain(x),
        call.plain(weight),
        data_layout=data_layout,
        kernel_layout=kernel_layout,
        **options,
    )
    return call.temporary(call.emit(found), spec)


def _with_bias(call: Call, x: Tensor, bias: Tensor | None) -> Tensor:
    if bias is None:
        return x
    shape = (1, bias.shape[0]) + (1,) * (len(x.shape) - 2)
    added = call.ordered(call.reshaped(bias, shape), x.order)
    return call.temporary(call.emit(op.add(x.expr, added)), x.spec, x.order)


def transposed_convolution(
    call: Call,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Convert ``conv_transpose``: a convolution with turned weights of an input with gaps."""
    spatial = len(weight.shape) - 2
    batched = _with_batch(call, x, spatial)
    steps, pads, more, gaps = (
        _listed(given, spatial) for given in (stride, padding, output_padding, dilation)
    )
    spread = _spread(call, batched, steps)
    around = {}
    for n in range(spatial):
        reach = gaps[n] * (weight.shape[n + 2] - 1) - pads[n]
        around[n + 2] = (reach, reach + more[n])
    turned = _turned(call, weight, groups)
    surrounded = padded(call, spread, around, 0)
    ones = [1] * spatial
    found = _convolved(call, surrounded, turned, ones, [0] * spatial, gaps, groups)
    return _finished(call, _with_bias(call, found, bias), x is not batched)


def _spread(call: Call, x: Tensor, steps: list[int]) -> Tensor:
    """Return a tensor with zeros between its elements."""
    if set(steps) == {1}:
        return x
    shape = list(x.shape)
    for n, step in enumerate(steps):
        shape[n + 2] = (shape[n + 2] - 1) * step + 1
    order = LAST if len(steps) == 2 else FIRST[len(steps)]
    by = [steps[dim - 2] if dim >= 2 else 1 for dim in order]

    def describe(data: te.Tensor) -> te.Tensor:
        return topi.nn.dilate(data, by)

    found = call.te(describe, call.ordered(x, order), name="spread")
    return call.temporary(found, Spec(tuple(shape), x.dtype), order)


def _turned(call: Call, weight: Tensor, groups: int) -> Tensor:
    """Return the weights of the convolution that a transposed one is: (out, in / groups, ...)."""
    inputs, per_group, *window = weight.shape
    parts = call.reshaped(weight, (groups, inputs // groups, per_group, *window))
    rest = range(3, 3 + len(window))
    parts = permuted(call, parts, [0, 2, 1, *rest])
    parts = call.reshaped(parts, (groups * per_group, inputs // groups, *window))
    return flipped(call, parts, list(range(2, 2 + len(window))))


def any_convolution(
    call: Call,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Tensor:
    """Convert ``convolution``, what all of them are in core ATen."""
    if transposed:
        return transposed_convolution(
            call, x, weight, bias, stride, padding, output_padding, groups, dilation
        )
    return convolution(call, x, weight, bias, stride, padding, dilation, groups)


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


def _transposed(call: Call, matrix: Tensor) -> Tensor:
    """Return a matrix, or each of many, transposed."""
    *others, last, first = range(len(matrix.shape))
    return permuted(call, matrix, [*others, first, last])


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
                return te.sum(tirx.Cast(dtype, left > like(left, 0)), axis=[k])
            if math.isinf(p):
                return te.max(left, axis=[k])
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
    "conv1d.default": convolution,
    "conv2d.default": convolution,
    "conv3d.default": convolution,
    "conv_transpose1d.default": transposed_convolution,
    "conv_transpose2d.input": transposed_convolution,
    "conv_transpose3d.input": transposed_convolution,
    "convolution.default": any_convolution,
    "linear.default": linear,
    "matmul.default": matmul,
    "mm.default": matmul,
    "bmm.default": matmul,
    "mv.default": matmul,
    "dot.default": matmul,
    "addbmm.default": addbmm,
    "_cdist_forward.default": distances,
    "bilinear.default": bilinear,
    "addmm.default": addmm,
    "baddbmm.default": addmm,
}
