"""Signs as words of 32 bits: of the numbers that a binary kernel reads, and of its own sums.

A bit is set where a number is not at least 0. Bits beyond the last channel, and in padding, are 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tvm
from tvm import te, tirx

from hwopt.targets.templates.padding import BITS
from hwopt.targets.templates.register_tile_space import SIGNS, WORD_BITS, as_three

#: Numbers whose signs one instruction collects on x86: all that have AVX can do 8 of them.
COLLECTED = 8
# What is not a number has a bit, too: it is not at least the threshold.
_NOT_AT_LEAST = 9


def of_numbers(
    data: te.Tensor, thresholds: te.Tensor, padding: tuple[int, ...], isa: str
) -> te.Tensor:
    """Describe the signs of ``data [..., C]`` as words ``[..., ceil(C / 32)]``.

    Args:
        data: float32.
        thresholds: float32 ``[C]``: the sign is -1 below.
        padding: top, left, bottom, right of NHWC data; or empty.
        isa: of the target.
    """
    *leading, channels = (int(n) for n in data.shape)

    def word(place: list[Any], number: Any) -> Any:
        def one(channel: Any) -> Any:
            is_positive = data[(*place, channel)] >= thresholds[channel]
            zero, bit = (tirx.const(n, "uint32") for n in (0, 1))
            # TVM would take the negation of the comparison for "less than".
            return tirx.Select(is_positive, zero, bit)

        def eight(channel: Any) -> Any:
            # Written as instructions, since TVM has no bits of vectors.
            together = tirx.Ramp(channel, 1, COLLECTED)
            kind = tirx.const(_NOT_AT_LEAST, "int8")
            compared = data[(*place, together)], thresholds[together], kind
            dtype = f"float32x{COLLECTED}"
            return tirx.call_llvm_pure_intrin(dtype, "llvm.x86.avx.cmp.ps.256", *compared)

        return _collect(number, channels, one, eight if _has_avx(isa) else None)

    return _surround(leading, math.ceil(channels / WORD_BITS), padding, word)


def surround(words: te.Tensor, padding: tuple[int, ...]) -> te.Tensor:
    """Surround the words ``[N, H, W, words]`` with zeros, if ``padding`` is any."""
    if not any(padding):
        return words
    *leading, count = (int(n) for n in words.shape)
    return _surround(leading, count, padding, lambda place, number: words[(*place, number)])


def of_sums(differences: te.Tensor, leading: Sequence[int], isa: str) -> te.Tensor:
    """Describe the signs of whole numbers as words ``[*leading, words]``.

    Args:
        differences: int32 ``[batch, rows, columns, blocks, lanes]``; all channels fill whole words.
        leading: dimensions of the result before the words.
        isa: of the target.
    """
    blocks, lanes = (int(n) for n in differences.shape[3:])

    def word(*index: Any) -> Any:
        *place, number = index
        where = as_three(place, 0)

        def load(channel: Any, lane: Any) -> Any:
            return differences[(*where, channel // lanes, lane)]

        def one(channel: Any) -> Any:
            return tirx.Cast("uint32", load(channel, channel % lanes) < 0)

        def eight(channel: Any) -> Any:
            # Whole numbers have their sign where floats have it. TVM's own function for this takes
            # eight loaded numbers for one.
            loaded = load(channel, tirx.Ramp(channel % lanes, 1, COLLECTED))
            reinterpret = tvm.ir.Op.get("tirx.reinterpret")
            return tvm.ir.Call(reinterpret, [loaded], ret_ty=f"float32x{COLLECTED}")

        is_whole = _has_avx(isa) and lanes % COLLECTED == 0
        return _collect(number, blocks * lanes, one, eight if is_whole else None)

    return te.compute((*leading, blocks * lanes // WORD_BITS), word, name=SIGNS)


def _has_avx(isa: str) -> bool:
    return isa in ("avx2", "avx512")


def _surround(
    leading: list[int], words: int, padding: tuple[int, ...], word: Callable[..., Any]
) -> te.Tensor:
    """Describe words, and zeros around them."""
    shape = list(leading)
    before = [0] * len(leading)
    if padding:
        before[1:3] = padding[:2]
        shape[1] += padding[0] + padding[2]
        shape[2] += padding[1] + padding[3]

    def value(*index: Any) -> Any:
        *place, number = index
        source = [p - b for p, b in zip(place, before, strict=True)]
        inside = [
            condition
            for axis, size in enumerate(leading)
            if shape[axis] > size
            for condition in (place[axis] >= before[axis], place[axis] < before[axis] + size)
        ]
        bits, zero = word(source, number), tirx.const(0, "uint32")
        return tirx.if_then_else(tirx.all(*inside), bits, zero) if inside else bits

    return te.compute((*shape, words), value, name=BITS)


def _collect(
    number: Any, channels: int, one: Callable[..., Any], eight: Callable[..., Any] | None
) -> Any:
    """Return the signs of up to 32 neighbouring channels as one word.

    Args:
        number: of the word.
        channels: that there are.
        one: gives the bit of a channel.
        eight: gives eight floats from a channel on, whose signs are the bits; not used where
            channels do not fill such vectors.
    """
    step = COLLECTED if eight and channels % COLLECTED == 0 else 1
    word = tirx.const(0, "uint32")
    for first in range(0, min(WORD_BITS, channels), step):
        channel = number * WORD_BITS + first
        if eight and step > 1:
            signs = tirx.call_llvm_pure_intrin(
                "int32", "llvm.x86.avx.movmsk.ps.256", eight(channel)
            )
            part = tirx.Cast("uint32", signs)
        else:
            part = one(channel)
        if channels % WORD_BITS and first + step > channels % WORD_BITS:
            part = tirx.if_then_else(channel < channels, part, tirx.const(0, "uint32"))
        word = tirx.bitwise_or(word, tirx.shift_left(part, tirx.const(first, "uint32")))
    return word
