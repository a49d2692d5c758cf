"""Matrix products whose weights are codes: looked up in a codebook inside the multiply loop.

Layers with few distinct weights (``share-codebook``) can be held as floats, decoded when the model
is loaded, or as codes of 4 or 8 bits. Codes are an eighth or a quarter of the bytes, which are what
a product with few rows waits for; each vector of weights costs a shift and a permutation more,
or several of them and selections where the codebook fills several registers.

A vector of the codebook's entries stays in a register, and a permutation picks an entry for every
lane by the low bits of its code. So codes of lane ``v`` lie in 32-bit words ``[block, step, v]``,
those of consecutive inputs at increasing bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import te, tirx

from hwopt.targets.target import Target
from hwopt.targets.templates.register_tile_space import SUMS, UNPACKED, as_three

#: Instructions that pick ``entries[code]`` for every lane, by instruction set and lanes.
PERMUTATIONS = {
    ("avx512", 16): "llvm.x86.avx512.permvar.sf.512",
    ("avx512", 8): "llvm.x86.avx2.permps",
    ("avx2", 8): "llvm.x86.avx2.permps",
}
#: A codebook in more registers than these leaves too few for the sums.
MOST_PERMUTATIONS = 4
WORD_BITS = 32


def encode(matrix: np.ndarray, target: Target) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a matrix ``[inputs, channels]`` as words of codes and the codebook; or None.

    None if the matrix has too many distinct values, or its sizes or the target do not fit.

    Returns:
        uint32 words ``[block, inputs / codes a word, lanes]``, and float32 entries, zeros last.
    """
    lanes = target.float_lanes
    inputs, channels = matrix.shape
    if (target.isa, lanes) not in PERMUTATIONS or channels % lanes:
        return None
    most = MOST_PERMUTATIONS * lanes
    if len(np.unique(matrix[: 2 + most // channels])) > most:
        return None  # a few rows say it already
    entries, codes = np.unique(matrix, return_inverse=True)
    registers = 1 << max(0, int(np.ceil(np.log2(len(entries) / lanes))))
    bits = code_bits(registers * lanes)
    in_word = WORD_BITS // bits
    if registers > MOST_PERMUTATIONS or inputs % in_word:
        return None
    codebook = np.zeros(registers * lanes, "float32")
    codebook[: len(entries)] = entries
    codes = codes.reshape(inputs // in_word, in_word, channels // lanes, lanes).astype("uint32")
    shifts = np.arange(0, WORD_BITS, bits, dtype="uint32")[None, :, None, None]
    words = np.bitwise_or.reduce(codes << shifts, axis=1).transpose(1, 0, 2)
    return np.ascontiguousarray(words), codebook


def code_bits(entries: int) -> int:
    """Return the bits between two codes in a word: 4 for up to 16 entries, else 8."""
    return 4 if entries <= 16 else 8


def product(
    data: te.Tensor, words: te.Tensor, codebook: te.Tensor, channels: int, isa: str
) -> te.Tensor:
    """Describe ``data [..., K]`` times the matrix that :func:`encode` returned."""
    blocks, steps, lanes = (int(n) for n in words.shape)
    entries = int(codebook.shape[0])
    bits = code_bits(entries)
    in_word = WORD_BITS // bits
    leading = [int(n) for n in data.shape][:-1]
    step = te.reduce_axis((0, steps), name="step")
    code = te.reduce_axis((0, in_word), name="code")

    def multiply(n: Any, h: Any, w: Any, b: Any, v: Any) -> Any:
        place = {1: [h], 2: [n, h], 3: [n, h, w]}[len(leading)]
        # Without a sign: TVM makes signed integers beside an index as wide as that.
        codes = tirx.shift_right(words[b, step, v], tirx.Cast("uint32", code * bits))
        weight = _look_up(codebook, 0, entries, codes, v, lanes, isa)
        return te.sum(data[(*place, step * in_word + code)] * weight, axis=[step, code])

    def unpack(*index: Any) -> Any:
        *place, channel = index
        return sums[(*as_three(place, 0), channel // lanes, channel % lanes)]

    sums = te.compute((*as_three(leading), blocks, lanes), multiply, name=SUMS)
    return te.compute((*leading, channels), unpack, name=UNPACKED)


def _look_up(
    codebook: te.Tensor, first: int, count: int, codes: Any, lane: Any, lanes: int, isa: str
) -> Any:
    """Return the entry of a code among ``count`` from ``first`` on.

    The permutation is written for one lane, which no processor can do: it has a meaning once the
    loop over lanes has become vectors, where ``codebook[first + lane]`` is a register of entries.
    """
    if count == lanes:
        entries = codebook[lane + first]
        return tirx.call_llvm_pure_intrin("float32", PERMUTATIONS[isa, lanes], entries, codes)
    half = count // 2
    low, high = (
        _look_up(codebook, first + start, half, codes, lane, lanes, isa) for start in (0, half)
    )
    bit, zero = (tirx.const(n, "uint32") for n in (half, 0))
    return tirx.Select(tirx.bitwise_and(codes, bit) != zero, high, low)
