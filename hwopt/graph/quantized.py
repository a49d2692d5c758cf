"""Whole numbers of eight bits in place of real ones: torch operators, and what they mean.

A quantized value ``q`` stands for ``(q - zero_point) * scale``. ``quantize`` divides by the scale,
rounds to the nearest whole number, of two as near to the even one, adds the zero point, and takes
the nearest number from ``low`` to ``high``: what is beyond saturates. NaN becomes the zero point.
The scheme is that of ONNX's QuantizeLinear.

Scale and zero point are single numbers, or one for each index along an axis. ``fake_quantize`` is
``dequantize`` of ``quantize`` in one step that has gradients: a graph trains with it, and is then
frozen to the other two.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hwopt.graph import composed


def quantize(
    input: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    axis: int = 1,
    low: int = -128,
    high: int = 127,
) -> Tensor:
    """Return whole numbers that stand for the input.

    Args:
        input: float, any shape.
        scale: float, positive, of shape () or (size of the axis,).
        zero_point: whole numbers of the shape of ``scale``, from ``low`` to ``high``.
        axis: along which scales differ, if there are several.
        low, high: the smallest and the largest whole number.

    Returns:
        int8 if ``low`` is negative, else uint8, of the input's shape.

    >>> x = torch.tensor([-0.25, 0.25, 0.75, 100.0, float("nan")])
    >>> quantize(x, torch.tensor(0.5), torch.tensor(3))
    tensor([  3,   3,   5, 127,   3], dtype=torch.int8)
    """
    scale, zero_point = _along(scale, axis, input), _along(zero_point, axis, input)
    whole = torch.round(torch.nan_to_num(input / scale)) + zero_point
    return whole.clamp(low, high).to(torch.int8 if low < 0 else torch.uint8)


def dequantize(input: Tensor, scale: Tensor, zero_point: Tensor, axis: int = 1) -> Tensor:
    """Return the real numbers that whole numbers stand for.

    Args:
        input: int8, uint8 or int32, any shape.
        scale: float, of shape () or (size of the axis,).
        zero_point: whole numbers of the shape of ``scale``.
        axis: along which scales differ, if there are several.

    Returns:
        The scale's dtype, of the input's shape.

    >>> dequantize(torch.tensor([3, 5], dtype=torch.int8), torch.tensor(0.5), torch.tensor(3))
    tensor([0., 1.])
    """
    scale, zero_point = _along(scale, axis, input), _along(zero_point, axis, input)
    return (input.to(torch.int32) - zero_point).to(scale.dtype) * scale


def fake_quantize(
    input: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    axis: int = 1,
    low: int = -128,
    high: int = 127,
) -> Tensor:
    """Return what is left of the input when it has been quantized.

    The gradient goes straight through to what does not saturate; that of the scale is what the
    rounding adds, or the bound (Esser et al. 2020, LSQ, equation 3).

    Args:
        input, scale, zero_point, axis, low, high: as of ``quantize``.

    Returns:
        float, of the input's shape.

    >>> fake_quantize(torch.tensor([0.3, 100.0]), torch.tensor(0.5), torch.tensor(0))
    tensor([ 0.5000, 63.5000])
    """
    whole = quantize(input, scale, zero_point, axis, low, high)
    return dequantize(whole, scale, zero_point, axis).to(input.dtype)


def _along(numbers: Tensor, axis: int, value: Tensor) -> Tensor:
    """Return one number, or a vector of them so that it lies along an axis."""
    if numbers.dim() == 0:
        return numbers
    return numbers.reshape([-1 if d == axis % value.dim() else 1 for d in range(value.dim())])


def _fake_gradients(
    arguments: list[Any], wanted: list[bool], gradient: Tensor
) -> tuple[Tensor | None, ...]:
    x, scale, zero_point, axis, *bounds = arguments
    step, shift = _along(scale, axis, x), _along(zero_point, axis, x)
    low, high = (bound - shift for bound in bounds)
    exact = torch.nan_to_num(x / step)
    whole = torch.round(exact)
    is_inside = (whole >= low) & (whole <= high)
    of_input = gradient * is_inside if wanted[0] else None
    of_scale = None
    if wanted[1]:
        each = torch.where(is_inside, whole - exact, torch.where(whole < low, low, high))
        kept = () if scale.dim() == 0 else (axis % x.dim(),)
        others = [d for d in range(x.dim()) if d not in kept]
        summed = (gradient * each).sum(others) if others else gradient * each
        of_scale = summed.to(scale.dtype)
    return of_input, of_scale, None, None, None, None


_SCHEMA = (
    "(Tensor input, Tensor scale, Tensor zero_point, int axis=1, int low=-128, int high=127) "
    "-> Tensor"
)
# Steps and what is rounded keep all of their digits under autocast.
QUANTIZE = composed.define(quantize, _SCHEMA, half=False)
DEQUANTIZE = composed.define(
    dequantize,
    "(Tensor input, Tensor scale, Tensor zero_point, int axis=1) -> Tensor",
    half=False,
)
FAKE_QUANTIZE = composed.define(
    fake_quantize,
    _SCHEMA,
    _fake_gradients,
    half=False,
)
