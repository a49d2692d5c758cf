"""The Pareto front of quality, latency and what else is traded, and the volume below it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Point(NamedTuple):
    """What is traded.

    Attributes:
        gain: of quality, the more the better: the quality itself, or, of errors, its negative.
        latency: the less the better.
        others: such as memory and size, the less the better; as many for all points.
    """

    gain: float
    latency: float
    others: tuple[float, ...] = ()

    @classmethod
    def of(cls, objectives: Sequence[float]) -> Point:
        """Return the point of a trial's objectives, as Optuna keeps them."""
        gain, latency, *others = objectives
        return cls(gain, latency, tuple(others))

    @property
    def objectives(self) -> list[float]:
        """What is told to Optuna."""
        return [self.gain, self.latency, *self.others]


def front(points: Mapping[Key, Point]) -> list[Key]:
    """Return those that no other one beats in everything, by latency; of equal ones the first.

    >>> front({"a": Point(0.9, 1.0), "b": Point(0.8, 0.5), "c": Point(0.85, 1.0)})
    ['b', 'a']
    >>> front({"a": Point(0.9, 1.0, (8,)), "c": Point(0.85, 1.0, (4,))})
    ['a', 'c']
    """
    found: list[Key] = []
    for key in sorted(points, key=lambda one: _costs(points[one])):
        costs = _costs(points[key])
        if not any(_is_no_worse(_costs(points[other]), costs) for other in found):
            found.append(key)
    return found


def hypervolume(points: Mapping[Key, Point], worst: Point) -> float:
    """Return the area, or the volume, between the front and a point that is worse in everything.

    Args:
        points: by any keys.
        worst: the corner that the volume begins at; points beyond it add nothing.

    >>> hypervolume({"a": Point(0.9, 0.8), "b": Point(0.7, 0.5)}, Point(0.5, 1.0))
    0.14
    >>> hypervolume({"a": Point(0.9, 0.8, (0.5,))}, Point(0.5, 1.0, (1.0,)))
    0.04
    """
    return round(_volume([_costs(points[key]) for key in front(points)], _costs(worst)), 12)


def _costs(point: Point) -> tuple[float, ...]:
    """Return what is the better the less it is, the latency first."""
    return (point.latency, -point.gain, *point.others)


def _is_no_worse(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(mine <= others for mine, others in zip(one, other, strict=True))


def _volume(costs: Sequence[tuple[float, ...]], worst: tuple[float, ...]) -> float:
    """Return the volume between points and a corner: slice by slice along the last axis."""
    inside = [one for one in costs if all(c < w for c, w in zip(one, worst, strict=True))]
    if not inside:
        return 0.0
    if len(worst) == 1:
        return max(worst[0] - one[0] for one in inside)
    inside.sort(key=lambda one: one[-1])
    ends = [*(one[-1] for one in inside[1:]), worst[-1]]
    return sum(
        (end - one[-1]) * _volume([cost[:-1] for cost in inside[: n + 1]], worst[:-1])
        for n, (one, end) in enumerate(zip(inside, ends, strict=True))
        if end > one[-1]
    )
