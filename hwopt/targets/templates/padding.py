"""The padded input of a convolution: its description and its schedule."""

from __future__ import annotations

from typing import Any

from tvm import s_tir, te, tirx

from hwopt.targets.templates import analysis

# Names of the block that pads, and of the one that also packs signs; schedules look for them.
PADDED, BITS = "hwopt_padded", "hwopt_padded_bits"
# Channels that are copied at once, where their number can be divided so.
SHORTEST_COPY, LONGEST_COPY = 8, 64


def pad(data: te.Tensor, padding: tuple[int, ...], channels: int) -> te.Tensor:
    """Surround NHWC ``data`` with zeros and extend it to ``channels``, if either is needed.

    Args:
        data: float32 (batch, height, width, channels).
        padding: top, left, bottom, right.
        channels: of the result, at least as many as those of ``data``.
    """
    batch, height, width, inputs = (int(n) for n in data.shape)
    top, left, bottom, right = padding
    if not any(padding) and channels == inputs:
        return data

    def value(n: Any, h: Any, w: Any, c: Any) -> Any:
        inside = [h >= top, h < height + top, w >= left, w < width + left]
        if channels > inputs:
            inside.append(c < inputs)
        zero = tirx.const(0.0, "float32")
        return tirx.if_then_else(tirx.all(*inside), data[n, h - top, w - left, c], zero)

    shape = (batch, height + top + bottom, width + left + right, channels)
    return te.compute(shape, value, name=PADDED)


def pad_inside(schedule: s_tir.Schedule, loop: Any) -> None:
    """Compute what ``loop`` needs of the padded input inside it, if the kernel has one."""
    if BITS in analysis.names(schedule):
        schedule.compute_at(schedule.get_sblock(BITS), loop)
    if PADDED in analysis.names(schedule):
        padded = schedule.get_sblock(PADDED)
        schedule.compute_at(padded, loop)
        channel = schedule.get_loops(padded)[-1]
        length = _vector_length(int(schedule.get(channel).extent))
        schedule.vectorize(schedule.split(channel, [None, length])[1])


def _vector_length(channels: int) -> int:
    """Return how many channels to copy at once; LLVM takes long to compile longer vectors."""
    divisors = [n for n in range(SHORTEST_COPY, LONGEST_COPY + 1) if channels % n == 0]
    return max(divisors, default=channels)
