"""Convolutions, matrix products and what else multiplies by weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import relax, te, topi

from hwopt.compiler.lower.call import Call, Converter, Order, Spec, Tensor
from hwopt.compiler.lower.movement import permuted
from hwopt.compiler.lower.padding import padded
from hwopt.compiler.lower.rearrangement import flipped

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


CONVERTERS: dict[str, Converter] = {
    "conv1d.default": convolution,
    "conv2d.default": convolution,
    "conv3d.default": convolution,
    "conv_transpose1d.default": transposed_convolution,
    "conv_transpose2d.input": transposed_convolution,
    "conv_transpose3d.input": transposed_convolution,
    "convolution.default": any_convolution,
}
