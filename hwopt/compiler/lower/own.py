"""The project's own operators: choices, binary layers, the Global layer, anchors."""

from __future__ import annotations

from typing import Any

from tvm import relax

from hwopt.compiler import cond, spatial_operators
from hwopt.compiler.lower.call import Call, Converter, Tensor
from hwopt.compiler.lower.convolutions import convolution
from hwopt.compiler.lower.products import linear

op = relax.op


def _signs(call: Call, x: Tensor) -> Tensor:
    """Return 2 (x >= 0) - 1, which :mod:`hwopt.compiler.binary_layers` looks for."""
    number = call.number
    at_least_zero = call.emit(op.greater_equal(call.ordered(x, x.order), number(0, x.dtype)))
    ones = call.emit(op.astype(at_least_zero, x.dtype))
    doubled = call.emit(op.multiply(ones, number(2, x.dtype)))
    return call.temporary(call.emit(op.subtract(doubled, number(1, x.dtype))), x.spec, x.order)


def _binary_conv2d(call: Call, x: Tensor, weight: Tensor, *geometry: Any) -> Tensor:
    """Convert to a convolution of signs, which becomes a kernel on bits later."""
    stride, padding, dilation, groups = geometry
    return convolution(call, _signs(call, x), weight, None, stride, padding, dilation, groups)


def _binary_linear(call: Call, x: Tensor, weight: Tensor) -> Tensor:
    """Convert to a product with signs, which becomes a kernel on bits later."""
    rows = x if len(x.shape) > 1 else call.reshaped(x, (1, *x.shape))
    return linear(call, _signs(call, rows), weight)


CONVERTERS: dict[str, Converter] = {
    "binary_conv2d.default": _binary_conv2d,
    "binary_linear.default": _binary_linear,
    "cond.default": cond.convert,
    "advection_diffusion.default": spatial_operators.convert_step,
    "interpolate_anchors.default": spatial_operators.convert_anchors,
}
