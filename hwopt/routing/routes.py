"""From which score on a routed network should ask its expert."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwopt.errors import HwoptError
from hwopt.tasks import Metric

ACCURACY = Metric("accuracy")


@dataclass(frozen=True)
class RoutePoint:
    """How a routed network does with a threshold.

    Attributes:
        threshold: the expert is asked where the score is above it.
        coverage: the share of inputs that the small network answers.
        quality: the mean of all answers.
        mean_ms: the expected latency.
    """

    threshold: float
    coverage: float
    quality: float
    mean_ms: float


def route_points(
    small: np.ndarray,
    large: np.ndarray,
    score: np.ndarray,
    latencies_ms: tuple[float, float] = (0.0, 1.0),
) -> list[RoutePoint]:
    """Return what every threshold that makes a difference gives, from no coverage to all.

    Args:
        small, large: how good the two answers to each input are, float (N,), such as 1 for a right
            label and 0 for a wrong one; see :func:`hwopt.routing.routed_parts.judged`.
        score: (N,).
        latencies_ms: of an easy and of a hard input, as measured (``DataLatency``); by default the
            expected latency is the share of hard inputs.

    >>> points = route_points(np.array([1.0, 0.0]), np.array([1.0, 1.0]), np.array([0.1, 0.9]))
    >>> [(point.coverage, point.quality) for point in points]
    [(0.0, 1.0), (0.5, 1.0), (1.0, 0.5)]
    """
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    of_small, of_large = (np.append(0, np.cumsum(one[order])) for one in (small, large))
    # Equal scores go one way; in front of them all stands a threshold below the lowest.
    ends = np.append(0, 1 + np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)))
    easy_ms, hard_ms = latencies_ms
    count = len(score)
    return [
        RoutePoint(
            threshold=float(ordered[end - 1]) if end else float("-inf"),
            coverage=float(end / count),
            quality=float((of_small[end] + of_large[-1] - of_large[end]) / count),
            mean_ms=float((end * easy_ms + (count - end) * hard_ms) / count),
        )
        for end in ends
    ]


def choose_point(
    points: list[RoutePoint],
    *,
    coverage: float | None = None,
    quality: float | None = None,
    mean_ms: float | None = None,
    metric: Metric = ACCURACY,
) -> RoutePoint:
    """Return the point that is wished for; choose on samples that nothing was trained on.

    Args:
        points: of :func:`route_points`.
        coverage: the least; the smallest coverage that is at least this is taken.
        quality: at least so good; of those the fastest one is taken.
        mean_ms: the most; of those the best one is taken.
        metric: of the quality; it says which is better.

    Raises:
        HwoptError: if not exactly one wish is given, or no point fulfils it.
    """
    wishes = {"coverage": coverage, "quality": quality, "mean_ms": mean_ms}
    given = {name: value for name, value in wishes.items() if value is not None}
    if len(given) != 1:
        raise HwoptError(f"choose_point: give one of {', '.join(wishes)}, not {len(given)}")
    ((name, value),) = given.items()
    if name == "mean_ms":
        fitting = [point for point in points if point.mean_ms <= value]
        best = max(fitting, key=lambda point: metric.gain(point.quality, 0.0), default=None)
    elif name == "coverage":
        fitting = [point for point in points if point.coverage >= value]
        best = min(fitting, key=lambda point: point.coverage, default=None)
    else:
        fitting = [point for point in points if metric.gain(point.quality, value) >= 0]
        best = min(fitting, key=lambda point: point.mean_ms, default=None)
    if best is None:
        reached = [getattr(point, name) for point in points]
        rises = name != "mean_ms" and (name == "coverage" or metric.higher_is_better)
        nearest = max(reached) if rises else min(reached)
        raise HwoptError(
            f"no threshold gives {name}={value:g} on these samples: the nearest is {nearest:.4g}"
        )
    return best
