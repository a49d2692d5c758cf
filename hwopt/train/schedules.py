"""Learning rate over a training, as a factor of the highest one.

A schedule is a function of the progress alone, so a resumed training needs no state for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from hwopt.errors import unknown_name

Schedule = Callable[[float], float]
"""From the progress, 0 at the first step and 1 after the last, to the factor."""

_WARM_UP = 0.25


def constant(progress: float) -> float:
    """Always 1."""
    return 1.0


def cosine(progress: float) -> float:
    """Fall from 1 to 0 along half a cosine.

    >>> round(cosine(0.5), 3)
    0.5
    """
    return (1 + math.cos(math.pi * progress)) / 2


def linear(progress: float) -> float:
    """Fall from 1 to 0 along a line."""
    return 1 - progress


def one_cycle(progress: float) -> float:
    """Rise along a line for a quarter of the training, then fall to 0 along half a cosine.

    >>> [round(one_cycle(p / 4), 2) for p in range(5)]
    [0.05, 1.0, 0.75, 0.25, 0.0]
    """
    if progress < _WARM_UP:
        return max(0.05, progress / _WARM_UP)
    return cosine((progress - _WARM_UP) / (1 - _WARM_UP))


NAMES: dict[str, Schedule] = {
    "constant": constant,
    "cosine": cosine,
    "linear": linear,
    "one-cycle": one_cycle,
}


def find(schedule: str | Schedule) -> Schedule:
    """Return the schedule of that name, or the function that was given.

    Raises:
        HwoptError: on an unknown name.
    """
    if not isinstance(schedule, str):
        return schedule
    if schedule not in NAMES:
        raise unknown_name("learning rate schedule", schedule, NAMES)
    return NAMES[schedule]
