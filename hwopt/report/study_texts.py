"""How the figures of a study are written, in tables and beside points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MINUS = "−"


def accuracy(value: float) -> str:
    """Return an accuracy in per cent.

    >>> accuracy(0.91234)
    '91.23 %'
    """
    return f"{100 * value:.2f} %"


def points(difference: float) -> str:
    """Return a difference of accuracies in points, with its sign.

    >>> points(-0.004), points(0.0)
    ('−0.40 points', '+0.00 points')
    """
    return f"{signed(100 * difference)} points"


def signed(value: float) -> str:
    """Return a number with its sign and two decimals."""
    return f"{value:+.2f}".replace("-", _MINUS)


def interval(latency: Mapping[str, float]) -> str:
    """Return a latency as its median, with what it lies in.

    >>> interval({"median_ms": 0.1, "p10_ms": 0.09, "p90_ms": 0.12})
    '0.100 ms (0.090–0.120)'
    """
    low, high = span(latency)
    return f"{latency['median_ms']:.3f} ms ({low:.3f}–{high:.3f})"


def span(latency: Mapping[str, float]) -> tuple[float, float]:
    """Return what a latency lies in, in ms.

    Of a trial, nine of ten medians would lie there if all were measured again; of what was measured
    once, by its calls alone, it is from the 10th to the 90th percentile of these.

    >>> span({"median_ms": 0.1, "low_ms": 0.08, "high_ms": 0.11})
    (0.08, 0.11)
    """
    names = ("low_ms", "high_ms") if "low_ms" in latency else ("p10_ms", "p90_ms")
    return latency[names[0]], latency[names[1]]


def changes(trial: Mapping[str, Any]) -> str:
    """Return what was done to the network.

    >>> changes({"model": "width=8", "passes": "binarize", "route": "expert=dense"})
    'model width=8; binarize; route expert=dense'
    >>> changes({"passes": ""})
    'nothing'
    """
    parts = {"model ": trial.get("model"), "": trial["passes"], "route ": trial.get("route")}
    return "; ".join(f"{kind}{text}" for kind, text in parts.items() if text) or "nothing"


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
