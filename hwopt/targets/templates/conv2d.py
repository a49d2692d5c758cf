"""2-d convolutions with constant weights: packed for the register tile, or for Winograd."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from tvm import relax, te, tirx
from tvm.ir.expr import GenericConst

from hwopt.targets.target import Target
from hwopt.targets.templates import winograd
from hwopt.targets.templates.base import Fastest
from hwopt.targets.templates.padding import pad
from hwopt.targets.templates.register_tile import lanes_for
from hwopt.targets.templates.register_tile_space import (
    DEPTHWISE,
    FEW_INPUTS,
    GROUPED,
    OUT_ELEMENTWISE_FUSABLE,
    SUMS,
    UNPACKED,
)


class Geometry(NamedTuple):
    """Strides, padding (top, left, bottom, right) and dilation of a convolution."""

    strides: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @classmethod
    def of(cls, attrs: Any) -> Geometry:
        """Read the geometry off the attributes of a ``relax.nn.conv2d``."""
        found = (attrs.strides, attrs.padding, attrs.dilation)
        return cls(*(tuple(int(n) for n in numbers) for numbers in found))

    def result(self, shape: Any, kernel_h: int, kernel_w: int) -> tuple[int, int, int]:
        """Return batch, rows and columns of the result for an NHWC input ``shape``."""
        batch, height, width = (int(n) for n in list(shape)[:3])
        top, left, bottom, right = self.padding
        rows = height + top + bottom - self.dilation[0] * (kernel_h - 1) - 1
        columns = width + left + right - self.dilation[1] * (kernel_w - 1) - 1
        return batch, rows // self.strides[0] + 1, columns // self.strides[1] + 1

    def is_plain(self) -> bool:
        """Return whether neighbouring results read neighbouring inputs."""
        return set(self.strides) == set(self.dilation) == {1}

    def source(self, row: Any, column: Any, ky: Any, kx: Any) -> tuple[Any, Any]:
        """Return where in the padded input a tap of the kernel reads."""
        return (
            row * self.strides[0] + ky * self.dilation[0],
            column * self.strides[1] + kx * self.dilation[1],
        )


def legalize(builder: Any, call: Any, target: Target, _: Fastest) -> Any:
    """Rewrite a channels-last ``relax.nn.conv2d`` with constant float32 weights; else None."""
    data, weight = call.args
    attrs = call.attrs
    supported = (
        isinstance(weight, GenericConst)
        and attrs.data_layout == attrs.out_layout == "NHWC"
        and attrs.kernel_layout == "HWIO"
        and data.ty.dtype.dtype == weight.ty.dtype.dtype == call.ty.dtype.dtype == "float32"
    )
    if not supported:
        return None
    groups = int(attrs.groups)
    kernel = weight.value.numpy()
    _, _, inputs, outputs = kernel.shape
    geometry = Geometry.of(attrs)
    plain = groups == 1 and geometry.is_plain()
    batch, rows, columns = geometry.result(data.ty.shape, *kernel.shape[:2])
    winograd_packing = (
        winograd.packing(kernel.shape, rows, columns, batch, target) if plain else None
    )
    if winograd_packing:
        packed = winograd.pack(kernel, winograd_packing)
        describe = functools.partial(
            winograd.convolution, channels=outputs, padding=geometry.padding
        )
        name = "winograd_conv2d"
    elif groups == outputs and inputs == 1:
        packed = pack(kernel, 1, lanes_for(outputs, target))[:, :, :, 0]
        describe = functools.partial(depthwise, channels=outputs, geometry=geometry)
        name = "depthwise_conv2d"
    else:
        packed = pack(kernel, groups, lanes_for(outputs // groups, target))
        describe = functools.partial(
            convolution, channels=outputs, groups=groups, geometry=geometry
        )
        name = "conv2d"
    return builder.call_te(
        describe,
        data,
        relax.const(packed),
        primfunc_name_hint=name,
        primfunc_attrs={"op_pattern": OUT_ELEMENTWISE_FUSABLE},
    )


def pack(kernel: np.ndarray, groups: int, lanes: int) -> np.ndarray:
    """Pack HWIO weights as ``[groups * blocks, H, W, I, lanes]``, zeros where channels end."""
    height, width, inputs, outputs = kernel.shape
    per_group = outputs // groups
    blocks = math.ceil(per_group / lanes)
    split = kernel.reshape(height, width, inputs, groups, per_group)
    padding = [(0, 0)] * 4 + [(0, blocks * lanes - per_group)]
    split = np.pad(split, padding).reshape(height, width, inputs, groups * blocks, lanes)
    return np.ascontiguousarray(split.transpose(3, 0, 1, 2, 4))


def convolution(
    data: te.Tensor, packed: te.Tensor, channels: int, groups: int, geometry: Geometry
) -> te.Tensor:
    """Describe the convolution of NHWC ``data`` with packed weights; the result is NHWC.

    The input is copied into a padded one, except where it has so few channels that the copy would
    take long in comparison: see :func:`_nearest`.
    """
    blocks, kernel_h, kernel_w, inputs, lanes = (int(n) for n in packed.shape)
    batch, rows, columns = geometry.result(data.shape, kernel_h, kernel_w)
    per_group, group_blocks = channels // groups, blocks // groups
    copied = groups > 1 or inputs > FEW_INPUTS
    source = pad(data, geometry.padding, int(data.shape[3])) if copied else data
    ky = te.reduce_axis((0, kernel_h), name="ky")
    kx = te.reduce_axis((0, kernel_w), name="kx")
    ci = te.reduce_axis((0, inputs), name="ci")

    def multiply(n: Any, h: Any, w: Any, b: Any, v: Any) -> Any:
        y, x = geometry.source(h, w, ky, kx)
        channel = (b // group_blocks) * inputs + ci if groups > 1 else ci
        weight = packed[b, ky, kx, ci, v]
        if not copied:
            y, x, weight = _nearest(data, geometry.padding, y, x, weight)
        return te.sum(source[n, y, x, channel] * weight, axis=[ky, kx, ci])

    def unpack(n: Any, h: Any, w: Any, c: Any) -> Any:
        if groups == 1:
            return sums[n, h, w, c // lanes, c % lanes]
        block = (c // per_group) * group_blocks + (c % per_group) // lanes
        return sums[n, h, w, block, (c % per_group) % lanes]

    sums = te.compute((batch, rows, columns, blocks, lanes), multiply, name=SUMS)
    name = UNPACKED if groups == 1 else GROUPED
    return te.compute((batch, rows, columns, channels), unpack, name=name)


def depthwise(data: te.Tensor, packed: te.Tensor, channels: int, geometry: Geometry) -> te.Tensor:
    """Describe the convolution of each channel with its own weights ``[block, H, W, lanes]``.

    The input is copied into a padded one only where the channels do not fill their blocks: with
    stride 2 a copy moves four vectors for the nine products of a result. See :func:`_nearest`.
    """
    blocks, kernel_h, kernel_w, lanes = (int(n) for n in packed.shape)
    batch, rows, columns = geometry.result(data.shape, kernel_h, kernel_w)
    copied = channels < blocks * lanes
    source = pad(data, geometry.padding, blocks * lanes) if copied else data
    ky = te.reduce_axis((0, kernel_h), name="ky")
    kx = te.reduce_axis((0, kernel_w), name="kx")

    def multiply(n: Any, h: Any, w: Any, b: Any, v: Any) -> Any:
        y, x = geometry.source(h, w, ky, kx)
        weight = packed[b, ky, kx, v]
        if not copied:
            y, x, weight = _nearest(data, geometry.padding, y, x, weight)
        return te.sum(source[n, y, x, b * lanes + v] * weight, axis=[ky, kx])

    sums = te.compute((batch, rows, columns, blocks, lanes), multiply, name=DEPTHWISE)
    return te.compute(
        (batch, rows, columns, channels),
        lambda n, h, w, c: sums[n, h, w, c // lanes, c % lanes],
        name=UNPACKED,
    )


def _nearest(
    data: te.Tensor, padding: tuple[int, ...], y: Any, x: Any, weight: Any
) -> tuple[Any, Any, Any]:
    """Return where to read a tap at (y, x) of the padded input, and with which weight.

    A position in the padding stands for the nearest one inside, with a weight of 0. Only an
    infinite value or a NaN there could tell the difference, and without dilation, where the padding
    is smaller than the window, it is part of the same sum anyhow.
    """
    if not any(padding):
        return y, x, weight
    places, inside = [], []
    for position, before, size in zip((y, x), padding[:2], data.shape[1:3], strict=False):
        position = position - before
        places.append(tirx.max(0, tirx.min(position, size - 1)))
        inside += [position >= 0, position < size]
    row, column = places
    return row, column, tirx.Select(tirx.all(*inside), weight, tirx.const(0.0, "float32"))
