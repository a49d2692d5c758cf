"""From which score on a routed network should ask its expert."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwopt.errors import HwoptError


@dataclass(frozen=True)
class RoutePoint:
    """How a routed network does with a threshold.

    Attributes:
        threshold: the expert is asked where the score is above it.
        coverage: the share of inputs that the small network answers.
        accuracy: of all answers.
        mean_ms: the expected latency.
    """

    threshold: float
    coverage: float
    accuracy: float
    mean_ms: float


def route_points(
    small: np.ndarray,
    large: np.ndarray,
    score: np.ndarray,
    labels: np.ndarray,
    latencies_ms: tuple[float, float] = (0.0, 1.0),
) -> list[RoutePoint]:
    """Return what every threshold that makes a difference gives, from no coverage to all.

    Args:
        small, large: logits (N, classes).
        score: (N,).
        labels: int (N,).
        latencies_ms: of an easy and of a hard input, as measured (``DataLatency``); by default the
            expected latency is the share of hard inputs.

    >>> right, wrong = [1.0, 0.0], [0.0, 1.0]
    >>> small, large = np.array([right, wrong]), np.array([right, right])
    >>> points = route_points(small, large, np.array([0.1, 0.9]), np.array([0, 0]))
    >>> [(point.coverage, point.accuracy) for point in points]
    [(0.0, 1.0), (0.5, 1.0), (1.0, 0.5)]
    """
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    of_small, of_large = (
        np.append(0, np.cumsum((logits.argmax(1) == labels)[order])) for logits in (small, large)
    )
    # Equal scores go one way; in front of them all stands a threshold below the lowest.
    ends = np.append(0, 1 + np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)))
    easy_ms, hard_ms = latencies_ms
    count = len(score)
    return [
        RoutePoint(
            threshold=float(ordered[end - 1]) if end else float("-inf"),
            coverage=float(end / count),
            accuracy=float((of_small[end] + of_large[-1] - of_large[end]) / count),
            mean_ms=float((end * easy_ms + (count - end) * hard_ms) / count),
        )
        for end in ends
    ]


def choose_point(
    points: list[RoutePoint],
    *,
    coverage: float | None = None,
    accuracy: float | None = None,
    mean_ms: float | None = None,
) -> RoutePoint:
    """Return the point that is wished for; choose on samples that nothing was trained on.

    Args:
        points: of :func:`route_points`.
        coverage: the least; the smallest coverage that is at least this is taken.
        accuracy: the least; of those the fastest one is taken.
        mean_ms: the most; of those the most accurate one is taken.

    Raises:
        HwoptError: if not exactly one wish is given, or no point fulfils it.
    """
    wishes = {"coverage": coverage, "accuracy": accuracy, "mean_ms": mean_ms}
    given = {name: value for name, value in wishes.items() if value is not None}
    if len(given) != 1:
        raise HwoptError(f"choose_point: give one of {', '.join(wishes)}, not {len(given)}")
    ((name, value),) = given.items()
    if name == "mean_ms":
        fitting = [point for point in points if point.mean_ms <= value]
        best = max(fitting, key=lambda point: point.accuracy, default=None)
    elif name == "coverage":
        fitting = [point for point in points if point.coverage >= value]
        best = min(fitting, key=lambda point: point.coverage, default=None)
    else:
        fitting = [point for point in points if point.accuracy >= value]
        best = min(fitting, key=lambda point: point.mean_ms, default=None)
    if best is None:
        reached = (getattr(point, name) for point in points)
        nearest = min(reached) if name == "mean_ms" else max(reached)
        raise HwoptError(
            f"no threshold gives {name}={value:g} on these samples: the nearest is {nearest:.4g}"
        )
    return best
