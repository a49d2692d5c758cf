"""Binary convolutions and matrix products: signs as bits, products as exclusive or, sums as counts.

A bit is set where a number is negative. The product of two signs is -1 where their bits differ, so
a sum over K products is K - 2 popcount(x xor w). Bits beyond the last channel are 0 on both sides
and count nothing.

Nothing stands in the padding of a convolution, but bits there must be something: they are 0, as if
it were +1, and what that adds to the count is known at compile time for every channel and every
kind of border (which taps of the window lie outside). So the sums are exact.

What was added to the input for every channel is compared with instead: x + shift is at least 0 just
where x is at least -shift, whatever the rounding. Whatever follows a sum, as long as it grows with
it, is at least that where the count is at most some whole number.

The input is packed into bits inside the kernel, for one chunk of rows at a time, if it is not
packed yet; the sums are those of ``register_tile``, with vectors of 32-bit counts. What comes out
are the sums, as floats, or the signs of what follows them, in words for the next binary layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from tvm import te, tirx

from hwopt.targets.templates import signs
from hwopt.targets.templates.conv2d import Geometry
from hwopt.targets.templates.register_tile_space import (
    BINARY,
    DIFFERENCES,
    UNPACKED,
    WORD_BITS,
    as_three,
)


def pack(kernel: np.ndarray, lanes: int) -> np.ndarray:
    """Pack HWIO weights of +1 and -1 as uint32 ``[blocks, H, W, words, lanes]``.

    >>> pack(np.array([1.0, -1.0, -1.0]).reshape(1, 1, 3, 1), lanes=4).ravel()
    array([6, 0, 0, 0], dtype=uint32)
    """
    height, width, inputs, outputs = kernel.shape
    words, blocks = math.ceil(inputs / WORD_BITS), math.ceil(outputs / lanes)
    bits = np.zeros((height, width, words * WORD_BITS, blocks * lanes), bool)
    bits[:, :, :inputs, :outputs] = kernel < 0
    bits = bits.reshape(height, width, words, WORD_BITS, blocks, lanes)
    values = np.uint32(1) << np.arange(WORD_BITS, dtype="uint32")
    packed = (bits * values[:, None, None]).sum(3, dtype="uint32")
    return np.ascontiguousarray(packed.transpose(3, 0, 1, 2, 4))


class Borders(NamedTuple):
    """What the counts of a convolution are taken off from, which depends on the place.

    Attributes:
        rows, columns: where the kinds of rows and columns but the first begin: for a window of
            three, at the second and at the last.
        offsets: int32 ``[kinds of rows, kinds of columns, channels]``: the number of products
            inside, and twice the count that the bits outside give.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    offsets: np.ndarray

    @classmethod
    def of(cls, kernel: np.ndarray, shape: Sequence[int], geometry: Geometry) -> Borders:
        """Return the borders of a convolution of NHWC data with HWIO weights of +1 and -1."""
        kernel_h, kernel_w, inputs, _ = kernel.shape
        _, rows, columns = geometry.result(shape, kernel_h, kernel_w)
        row_starts, row_kinds = _kinds(rows, kernel_h, shape[1], geometry, 0)
        column_starts, column_kinds = _kinds(columns, kernel_w, shape[2], geometry, 1)
        products = inputs * np.einsum("ay,bx->ab", row_kinds, column_kinds)
        negative = (kernel < 0).sum(2)
        inside = np.einsum("ay,bx,yxc->abc", row_kinds, column_kinds, negative)
        offsets = products[:, :, None] + 2 * (negative.sum((0, 1)) - inside)
        return cls(row_starts, column_starts, offsets.astype("int32"))

    @classmethod
    def of_product(cls, inputs: int, channels: int) -> Borders:
        """Return those of a product, which has none: the number of products for every channel."""
        return cls((), (), np.full((1, 1, channels), inputs, "int32"))

    def limits(self, least: np.ndarray) -> np.ndarray:
        """Return from which count on a sum is not at least ``least [channels]``.

        >>> Borders.of_product(10, 2).limits(np.array([4, -10]))
        array([[[ 3, 10]]], dtype=int32)
        """
        return np.floor_divide(self.offsets - least, 2).astype("int32")

    def kind(self, row: Any, column: Any) -> tuple[Any, Any]:
        """Return the kinds of a row and a column."""
        return _passed(row, self.rows), _passed(column, self.columns)


def _kinds(
    count: int, taps: int, size: int, geometry: Geometry, axis: int
) -> tuple[tuple[int, ...], np.ndarray]:
    """Return where the taps inside change, and which taps are inside from there on."""
    places = np.arange(count)[:, None] * geometry.strides[axis]
    places = places + np.arange(taps) * geometry.dilation[axis] - geometry.padding[axis]
    inside = (places >= 0) & (places < size)
    starts = np.flatnonzero((inside[1:] != inside[:-1]).any(1)) + 1
    return tuple(map(int, starts)), inside[[0, *starts]].astype(int)


def _passed(place: Any, starts: tuple[int, ...]) -> Any:
    """Return how many of the starts a place is at or behind."""
    return sum((tirx.Select(place >= start, 1, 0) for start in starts), start=place * 0)


def convolution(bits: te.Tensor, packed: te.Tensor, geometry: Geometry) -> te.Tensor:
    """Describe the counts of a convolution.

    Args:
        bits: uint32 (batch, height, width, words), with the padding.
        packed: what :func:`pack` returned.
        geometry: of the convolution; its padding counts as done.

    Returns:
        int32 (batch, rows, columns, blocks, lanes): in how many places signs differ.
    """
    blocks, kernel_h, kernel_w, words, lanes = (int(n) for n in packed.shape)
    done = geometry._replace(padding=(0, 0, 0, 0))
    batch, rows, columns = done.result(bits.shape, kernel_h, kernel_w)
    ky = te.reduce_axis((0, kernel_h), name="ky")
    kx = te.reduce_axis((0, kernel_w), name="kx")
    word = te.reduce_axis((0, words), name="word")

    def count(n: Any, h: Any, w: Any, b: Any, v: Any) -> Any:
        y, x = geometry.source(h, w, ky, kx)
        return te.sum(differing(bits[n, y, x, word], packed[b, ky, kx, word, v]), [ky, kx, word])

    return te.compute((batch, rows, columns, blocks, lanes), count, name=BINARY)


def product(bits: te.Tensor, packed: te.Tensor) -> te.Tensor:
    """Describe the counts of a product of ``bits [..., words]`` and a packed matrix.

    The matrix was packed as a convolution with a window of one; the result has three dimensions
    before those of blocks and lanes, too.
    """
    blocks, _, _, words, lanes = (int(n) for n in packed.shape)
    leading = [int(n) for n in bits.shape[:-1]]
    word = te.reduce_axis((0, words), name="word")

    def count(n: Any, h: Any, w: Any, b: Any, v: Any) -> Any:
        place = {1: [h], 2: [n, h], 3: [n, h, w]}[len(leading)]
        return te.sum(differing(bits[(*place, word)], packed[b, 0, 0, word, v]), [word])

    return te.compute((*as_three(leading), blocks, lanes), count, name=BINARY)


def as_numbers(
    counts: te.Tensor, offsets: te.Tensor, borders: Borders, leading: Sequence[int]
) -> te.Tensor:
    """Describe the sums that counts stand for, as float32 ``[*leading, channels]``.

    Args:
        counts: of a convolution or a product.
        offsets: those of the borders.
        borders: of the convolution, or of a product.
        leading: dimensions before the channels.
    """
    lanes = int(counts.shape[4])

    def unpack(*index: Any) -> Any:
        *place, channel = index
        n, row, column = as_three(place, 0)
        count = counts[n, row, column, channel // lanes, channel % lanes]
        offset = offsets[(*borders.kind(row, column), channel)]
        return tirx.Cast("float32", offset - 2 * count)

    return te.compute((*leading, int(offsets.shape[2])), unpack, name=UNPACKED)


def as_signs(
    counts: te.Tensor, limits: te.Tensor, borders: Borders, leading: Sequence[int], isa: str
) -> te.Tensor:
    """Describe the signs of what follows the sums, as uint32 ``[*leading, words]``.

    Args:
        counts: of a convolution or a product.
        limits: int32, like offsets: the sign is -1 where the count is larger.
        borders: of the convolution, or of a product.
        leading: dimensions before the words.
        isa: of the target.
    """

    lanes = int(counts.shape[4])

    def difference(n: Any, h: Any, w: Any, b: Any, v: Any) -> Any:
        return limits[(*borders.kind(h, w), b * lanes + v)] - counts[n, h, w, b, v]

    return signs.of_sums(te.compute(counts.shape, difference, name=DIFFERENCES), leading, isa)


def differing(first: Any, second: Any) -> Any:
    """Return the number of bits, as int32, in which two words differ."""
    return tirx.Cast("int32", tirx.popcount(tirx.bitwise_xor(first, second)))


def is_binary(kernel: np.ndarray) -> bool:
    """Return whether all weights are +1 or -1."""
    return bool((np.abs(kernel) == 1).all())
