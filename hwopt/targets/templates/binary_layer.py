"""A binary layer as a kernel, whatever it reads and writes: numbers or signs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from hwopt.targets.target import Target
from hwopt.targets.templates import binary, signs
from hwopt.targets.templates.conv2d import Geometry
from hwopt.targets.templates.register_tile import lanes_for
from hwopt.targets.templates.register_tile_space import (
    OUT_ELEMENTWISE_FUSABLE,
    WORD_BITS,
    can_make_words,
)

#: Of what a product reads: batch, rows and columns before the channels.
MOST_DIMENSIONS = 4
# How TVM's fusion sees a kernel that nothing can follow.
_OPAQUE = 8


@dataclasses.dataclass(frozen=True, eq=False)
class BinaryLayer:
    """A convolution or product of signs.

    Attributes:
        shape: of what it reads, channels last.
        weights: +1 and -1, HWIO; of a product with a window of one.
        geometry: of the convolution; None for a product.
        thresholds: float32, one an input channel: the sign is -1 below. None where it reads signs.
        least: what each channel's sum must at least be for what follows to have the sign +1. None
            where it writes sums.
    """

    shape: tuple[int, ...]
    weights: np.ndarray
    geometry: Geometry | None
    thresholds: np.ndarray | None
    least: np.ndarray | None = None

    @property
    def channels(self) -> int:
        """Of the result."""
        return int(self.weights.shape[3])

    @property
    def terms(self) -> int:
        """The largest sum that there can be."""
        return int(np.prod(self.weights.shape[:3]))

    def can_write_signs(self, target: Target) -> bool:
        """Return whether there is a kernel that hands signs on in place of sums."""
        lanes = lanes_for(self.channels, target)
        return self.channels % WORD_BITS == 0 and can_make_words(lanes, target)

    def call(self, builder: relax.BlockBuilder, target: Target, data: Any) -> relax.Call:
        """Add the kernel to a module and return a call of it."""
        func, constants = self.kernel(target)
        pattern = OUT_ELEMENTWISE_FUSABLE if self.least is None else _OPAQUE
        func = func.without_attr("global_symbol").with_attr("op_pattern", pattern)
        var = builder.add_func(func, "binary_dense" if self.geometry is None else "binary_conv2d")
        result = func.params[-1].ty
        ty = relax.TensorType(list(result.shape), result.dtype)
        return relax.call_tir(var, [data, *map(relax.const, constants)], ty)

    def kernel(self, target: Target) -> tuple[tirx.PrimFunc, list[np.ndarray]]:
        """Return the unscheduled kernel, and the constants that it reads after the data."""
        borders = self._borders()
        constants = [
            binary.pack(self.weights, lanes_for(self.channels, target)),
            borders.offsets if self.least is None else borders.limits(self.least),
        ]
        if self.thresholds is not None:
            constants.append(self.thresholds)
        inputs = [te.placeholder(self._shape_read(), self._dtype_read(), name="data")]
        inputs += [te.placeholder(array.shape, str(array.dtype)) for array in constants]
        result = self._describe(inputs, borders, target)
        return te.create_prim_func([*inputs, result], index_dtype_override="int64"), constants

    def _describe(
        self, inputs: list[te.Tensor], borders: binary.Borders, target: Target
    ) -> te.Tensor:
        data, packed, last, *thresholds = inputs
        padding = self.geometry.padding if self.geometry else ()
        if thresholds:
            bits = signs.of_numbers(data, thresholds[0], padding, target.isa)
        else:
            bits = signs.surround(data, padding)
        if self.geometry:
            counts = binary.convolution(bits, packed, self.geometry)
            leading = [int(n) for n in counts.shape[:3]]
        else:
            counts = binary.product(bits, packed)
            leading = [int(n) for n in data.shape[:-1]]
        if self.least is None:
            return binary.as_numbers(counts, last, borders, leading)
        return binary.as_signs(counts, last, borders, leading, target.isa)

    def _borders(self) -> binary.Borders:
        if self.geometry is None:
            return binary.Borders.of_product(self.terms, self.channels)
        return binary.Borders.of(self.weights, self.shape, self.geometry)

    def _shape_read(self) -> tuple[int, ...]:
        *leading, channels = self.shape
        return (*leading, channels if self._dtype_read() == "float32" else channels // WORD_BITS)

    def _dtype_read(self) -> str:
        return "uint32" if self.thresholds is None else "float32"


def per_channel(constant: np.ndarray, value: Any) -> np.ndarray | None:
    """Return a constant as one number a channel of a value; None if it is not that.

    Args:
        constant: what is added to the value, or multiplied by it.
        value: a Relax expression, channels last.
    """
    channels = int(value.ty.shape[-1])
    is_one_each = constant.size == 1 or (constant.size, *constant.shape[-1:]) == (channels,) * 2
    if constant.ndim > value.ty.ndim or not is_one_each:
        return None
    return np.broadcast_to(constant.ravel(), channels).copy()
