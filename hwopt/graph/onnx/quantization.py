"""Whole numbers for floats: what ONNX says they mean."""

from __future__ import annotations

from typing import Any

import torch

from hwopt.graph.onnx.layers import convolution
from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import OnnxValue, dtype_of, tensor


def _along(x: torch.Tensor, value: OnnxValue, axis: int, block: int) -> torch.Tensor | None:
    """Return a scale or a zero point with the shape in which it is broadcast."""
    if value is None:
        return None
    found = tensor(value)
    if found.numel() == 1:
        return found.reshape(())
    if block:
        return found.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    return found.reshape([-1 if d == axis % x.dim() else 1 for d in range(x.dim())])


def quantized(
    node: OnnxNode,
    x: torch.Tensor,
    scale: OnnxValue,
    zero: OnnxValue,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Return ``round(x / scale) + zero``, half to even, within the limits of the dtype."""
    axis, block = node.get("axis", 1), node.get("block_size", 0)
    if dtype is None:
        chosen = node.get("output_dtype", 0)
        dtype = (
            tensor(zero).dtype
            if zero is not None
            else dtype_of(node, chosen)
            if chosen
            else torch.uint8
        )
    limits = torch.iinfo(dtype)
    step, offset = _along(x, scale, axis, block), _along(x, zero, axis, block)
    assert step is not None
    whole = torch.round(x / step)
    if offset is not None:
        whole = whole + offset.to(x.dtype)
    return whole.clamp(limits.min, limits.max).to(dtype)


def dequantized(
    node: OnnxNode, x: OnnxValue, scale: OnnxValue, zero: OnnxValue = None
) -> torch.Tensor:
    """Return ``(x - zero) * scale`` in the dtype of the scale, or the one that is asked for."""
    data, axis, block = tensor(x), node.get("axis", 1), node.get("block_size", 0)
    step, offset = _along(data, scale, axis, block), _along(data, zero, axis, block)
    assert step is not None
    value = data.to(step.dtype)
    if offset is not None:
        value = value - offset.to(step.dtype)
    asked = node.get("output_dtype", 0)
    return (value * step).to(dtype_of(node, asked)) if asked else value * step


def _quantize(
    node: OnnxNode, x: OnnxValue, scale: OnnxValue, zero: OnnxValue = None
) -> torch.Tensor:
    return quantized(node, tensor(x), scale, zero)


def dynamically(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return uint8, scale and zero point for the range of a tensor, zero in it."""
    low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
    scale = (high - low) / 255
    step = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero = torch.round(-low / step).clamp(0, 255)
    found = (torch.round(x / step) + zero).clamp(0, 255).to(torch.uint8)
    return found, scale, zero.to(torch.uint8)


def _centred(x: OnnxValue, zero: OnnxValue, axis: int) -> torch.Tensor:
    """Return whole numbers less their zero points, as float64: sums of their products are exact."""
    data = tensor(x).double()
    offset = _along(data, zero, axis, 0)
    return data if offset is None else data - offset.double()


def matmul_integer(
    x: OnnxValue, y: OnnxValue, x_zero: OnnxValue = None, y_zero: OnnxValue = None
) -> torch.Tensor:
    """Return the product of whole numbers, int32."""
    return (_centred(x, x_zero, -2) @ _centred(y, y_zero, -1)).to(torch.int32)


def _conv_integer(
    node: OnnxNode,
    x: OnnxValue,
    weight: OnnxValue,
    x_zero: OnnxValue = None,
    weight_zero: OnnxValue = None,
) -> torch.Tensor:
    data, kernel = _centred(x, x_zero, 1), _centred(weight, weight_zero, 0)
    return torch.round(convolution(node, data, kernel)).to(torch.int32)


def _linear_conv(node: OnnxNode, *given: OnnxValue) -> torch.Tensor:
    x, x_scale, x_zero, weight, w_scale, w_zero, y_scale, y_zero, *rest = given
    data, kernel = _centred(x, x_zero, 1), _centred(weight, w_zero, 0)
    sums = convolution(node, data, kernel)
    if rest and rest[0] is not None:
        sums = sums + tensor(rest[0]).double().reshape(1, -1, *[1] * (sums.dim() - 2))
    step = tensor(x_scale).double() * _along(sums, w_scale, 1, 0).double()  # type: ignore[union-attr]
    return quantized(node, (sums * step).float(), y_scale, y_zero)


def _linear_matmul(node: OnnxNode, *given: OnnxValue) -> torch.Tensor:
    x, x_scale, x_zero, y, y_scale, y_zero, scale, zero = given
    sums = _centred(x, x_zero, -2) @ _centred(y, y_zero, -1)
    steps = [_along(sums, s, a, 0) for s, a in ((x_scale, -2), (y_scale, -1))]
    found = sums * steps[0].double() * steps[1].double()  # type: ignore[union-attr]
    dtype = steps[0].dtype  # type: ignore[union-attr]
    return quantized(node, found.to(dtype), scale, zero)


def _dynamic(node: OnnxNode, x: OnnxValue) -> Any:
    return dynamically(tensor(x))


OPERATORS: dict[str, OnnxOperator] = {
    "QuantizeLinear": OnnxOperator(_quantize),
    "DequantizeLinear": OnnxOperator(dequantized),
    "DynamicQuantizeLinear": OnnxOperator(_dynamic),
    "MatMulInteger": OnnxOperator(lambda node, *values: matmul_integer(*values)),
    "ConvInteger": OnnxOperator(_conv_integer),
    "QLinearConv": OnnxOperator(_linear_conv),
    "QLinearMatMul": OnnxOperator(_linear_matmul),
    "com.microsoft.QuantizeLinear": OnnxOperator(_quantize),
    "com.microsoft.DequantizeLinear": OnnxOperator(dequantized),
}
