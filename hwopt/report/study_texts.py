"""How the figures of a study are written, in tables and beside points."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hwopt.compiler.latency import Interval


def interval(latency: Interval) -> str:
    """Return a latency as its median, with what it lies in.

    >>> from hwopt.compiler.latency import Interval
    >>> interval(Interval(0.1, 0.09, 0.12))
    '0.100 ms (0.090–0.120)'
    """
    return f"{latency.median_ms:.3f} ms ({latency.low_ms:.3f}–{latency.high_ms:.3f})"


def ratio(value: float) -> str:
    """Return a ratio of latencies."""
    return f"{value:.2f}"


def millions(macs: int) -> str:
    """Return a number of multiply-accumulates in millions."""
    return f"{macs / 1e6:.2f} M"


def duration(seconds: float) -> str:
    """Return a span of time in its two largest units.

    >>> duration(42.4), duration(125), duration(7384), duration(3600)
    ('42 s', '2 min 5 s', '2 h 3 min', '1 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        large, small = f"{whole // 60} min", f"{whole % 60} s"
    else:
        large, small = f"{whole // 3600} h", f"{whole % 3600 // 60} min"
    return large if small.startswith("0 ") else f"{large} {small}"
