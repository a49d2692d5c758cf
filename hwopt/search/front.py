"""The Pareto front of accuracy and latency, and the area below it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Point(NamedTuple):
    """What is traded: accuracy in [0, 1], the more the better; latency, the less the better."""

    accuracy: float
    latency: float


def front(points: Mapping[Key, Point]) -> list[Key]:
    """Return those that no other one beats in both, by latency; of equal ones the first.

    >>> front({"a": Point(0.9, 1.0), "b": Point(0.8, 0.5), "c": Point(0.85, 1.0)})
    ['b', 'a']
    """
    found: list[Key] = []
    best = float("-inf")
    for key in sorted(points, key=lambda one: (points[one].latency, -points[one].accuracy)):
        if points[key].accuracy > best:
            found.append(key)
            best = points[key].accuracy
    return found


def hypervolume(points: Mapping[Key, Point], worst: Point) -> float:
    """Return the area between the front and a point that is worse in both.

    Args:
        points: accuracies and latencies, by any keys.
        worst: the corner that the area begins at; points beyond it add nothing.

    >>> hypervolume({"a": Point(0.9, 0.8), "b": Point(0.7, 0.5)}, Point(0.5, 1.0))
    0.14
    """
    area, reached = 0.0, worst.accuracy
    for key in front(points):
        accuracy, latency = points[key]
        if latency < worst.latency and accuracy > reached:
            area += (accuracy - reached) * (worst.latency - latency)
            reached = accuracy
    return round(area, 12)
