"""Binary convolutions and matrix products: signs as bits, products as exclusive or, sums as counts.

A bit is set where a number is negative. The product of two signs is -1 where their bits differ, so
a sum over K products is K - 2 popcount(x xor w). Bits beyond the last channel are 0 on both sides
and count nothing.

Nothing stands in the padding of a convolution, but bits there must be something: they are 0, as if
it were +1, and what that adds to the count is known at compile time for every channel and every
kind of border (which taps of the window lie outside). So the sums are exact.

What was added to the input for every channel is compared with instead: x + shift is at least 0 just
where x is at least -shift, whatever the rounding.

The input is packed into bits inside the kernel, for one chunk of rows at a time; the sums are those
of ``register_tile``, with vectors of 32-bit counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from tvm import te, tirx

from hwopt.targets.templates.conv2d import Geometry
from hwopt.targets.templates.padding import BITS
from hwopt.targets.templates.register_tile_space import BINARY, UNPACKED, WORD_BITS, as_three

#: Numbers whose signs one instruction collects on x86: all that have AVX can do 8 of them.
COLLECTED = 8
_LESS_THAN = 1


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


def convolution(
    data: te.Tensor,
    packed: te.Tensor,
    offsets: te.Tensor,
    thresholds: te.Tensor,
    borders: Borders,
    geometry: Geometry,
    isa: str,
) -> te.Tensor:
    """Describe the convolution of signs of NHWC ``data``; the result is float32 NHWC.

    Args:
        data: float32 (batch, height, width, inputs).
        packed: what :func:`pack` returned.
        offsets: those of the borders.
        thresholds: float32 ``[inputs]``: the sign is -1 below.
        borders: of the convolution.
        geometry: of the convolution.
        isa: of the target.
    """
    _, kernel_h, kernel_w, words, lanes = (int(n) for n in packed.shape)
    blocks, channels = int(packed.shape[0]), int(offsets.shape[2])
    batch, rows, columns = geometry.result(data.shape, kernel_h, kernel_w)
    bits = packed_signs(data, thresholds, geometry.padding, isa)
    ky = te.reduce_axis((0, kernel_h), name="ky")
    kx = te.reduce_axis((0, kernel_w), name="kx")
    word = te.reduce_axis((0, words), name="word")

    def count(n: Any, h: Any, w: Any, b: Any, v: Any) -> Any:
        y, x = geometry.source(h, w, ky, kx)
        return te.sum(_differing(bits[n, y, x, word], packed[b, ky, kx, word, v]), [ky, kx, word])

    def unpack(n: Any, h: Any, w: Any, c: Any) -> Any:
        offset = offsets[(*borders.kind(h, w), c)]
        return tirx.Cast("float32", offset - 2 * counts[n, h, w, c // lanes, c % lanes])

    counts = te.compute((batch, rows, columns, blocks, lanes), count, name=BINARY)
    return te.compute((batch, rows, columns, channels), unpack, name=UNPACKED)


def product(
    data: te.Tensor, packed: te.Tensor, thresholds: te.Tensor, channels: int, isa: str
) -> te.Tensor:
    """Describe the signs of ``data [..., K]`` times a matrix of ``[block, words, lanes]``."""
    blocks, words, lanes = (int(n) for n in packed.shape)
    *leading, inputs = (int(n) for n in data.shape)
    bits = packed_signs(data, thresholds, (), isa)
    word = te.reduce_axis((0, words), name="word")

    def count(n: Any, h: Any, w: Any, b: Any, v: Any) -> Any:
        place = {1: [h], 2: [n, h], 3: [n, h, w]}[len(leading)]
        return te.sum(_differing(bits[(*place, word)], packed[b, word, v]), [word])

    def unpack(*index: Any) -> Any:
        *place, channel = index
        differing = counts[(*as_three(place, 0), channel // lanes, channel % lanes)]
        return tirx.Cast("float32", inputs - 2 * differing)

    counts = te.compute((*as_three(leading), blocks, lanes), count, name=BINARY)
    return te.compute((*leading, channels), unpack, name=UNPACKED)


def _differing(first: Any, second: Any) -> Any:
    return tirx.Cast("int32", tirx.popcount(tirx.bitwise_xor(first, second)))


def packed_signs(
    data: te.Tensor, thresholds: te.Tensor, padding: tuple[int, ...], isa: str
) -> te.Tensor:
    """Describe the signs of ``data [..., C]`` as words ``[..., ceil(C / 32)]``.

    Args:
        data: float32.
        thresholds: float32 ``[C]``: the sign is -1 below.
        padding: top, left, bottom, right of NHWC data, filled with zeros; or empty.
        isa: of the target.
    """
    *leading, inputs = (int(n) for n in data.shape)
    shape = list(leading)
    before = [0] * len(leading)
    if padding:
        before[1:3] = padding[:2]
        shape[1] += padding[0] + padding[2]
        shape[2] += padding[1] + padding[3]

    def word(*index: Any) -> Any:
        *place, number = index
        source = [p - b for p, b in zip(place, before, strict=True)]
        bits = _word(data, thresholds, source, number, isa)
        inside = [
            condition
            for axis, size in enumerate(leading)
            if shape[axis] > size
            for condition in (place[axis] >= before[axis], place[axis] < before[axis] + size)
        ]
        zero = tirx.const(0, "uint32")
        return tirx.if_then_else(tirx.all(*inside), bits, zero) if inside else bits

    return te.compute((*shape, math.ceil(inputs / WORD_BITS)), word, name=BITS)


def _word(data: te.Tensor, thresholds: te.Tensor, place: list[Any], number: Any, isa: str) -> Any:
    """Return the signs of up to 32 neighbouring channels as one word.

    What does not fill a word or a vector is collected bit by bit.
    """
    inputs = int(thresholds.shape[0])
    together = COLLECTED if isa in ("avx2", "avx512") else 1
    step = together if inputs % together == 0 else 1
    word = tirx.const(0, "uint32")
    for first in range(0, min(WORD_BITS, inputs), step):
        channel = number * WORD_BITS + first
        part = (_eight if step > 1 else _one)(data, thresholds, place, channel)
        if inputs % WORD_BITS and first + step > inputs % WORD_BITS:
            part = tirx.if_then_else(channel < inputs, part, tirx.const(0, "uint32"))
        word = tirx.bitwise_or(word, tirx.shift_left(part, tirx.const(first, "uint32")))
    return word


def _one(data: te.Tensor, thresholds: te.Tensor, place: list[Any], channel: Any) -> Any:
    return tirx.Cast("uint32", data[(*place, channel)] < thresholds[channel])


def _eight(data: te.Tensor, thresholds: te.Tensor, place: list[Any], channel: Any) -> Any:
    """Compare eight numbers at once; written as instructions, since TVM has no bits of vectors."""
    eight = tirx.Ramp(channel, 1, COLLECTED)
    compared = data[(*place, eight)], thresholds[eight]
    dtype, kind = f"float32x{COLLECTED}", tirx.const(_LESS_THAN, "int8")
    less = tirx.call_llvm_pure_intrin(dtype, "llvm.x86.avx.cmp.ps.256", *compared, kind)
    bits = tirx.call_llvm_pure_intrin("int32", "llvm.x86.avx.movmsk.ps.256", less)
    return tirx.Cast("uint32", bits)


def is_binary(kernel: np.ndarray) -> bool:
    """Return whether all weights are +1 or -1."""
    return bool((np.abs(kernel) == 1).all())
