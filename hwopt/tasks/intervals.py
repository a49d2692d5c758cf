"""How sure a figure is: intervals and comparisons by the bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

Quality = Callable[[np.ndarray], float]
#: How often samples are drawn again.
RESAMPLES = 1000
#: Of the intervals that are shown.
LEVEL = 0.95


def interval(
    quality: Quality, scores: np.ndarray, *, level: float = LEVEL, seed: int = 0
) -> tuple[float, float]:
    """Return between which two figures the quality is, with a probability.

    Percentiles of the bootstrap (Efron 1979): samples are drawn again, as many as there are, a
    thousand times. It knows nothing of the chance in training.

    Args:
        quality: of a task.
        scores: of all samples; see :class:`hwopt.tasks.Task`.
        level: the probability.
        seed: of the draws.

    >>> low, high = interval(lambda scores: float(scores.mean()), np.arange(100) % 2)
    >>> 0.39 <= low < 0.45, 0.55 < high <= 0.61
    (True, True)
    """
    found = np.array([quality(scores[drawn]) for drawn in _draws(len(scores), seed)])
    return _between(found, (1 - level) / 2)


def worse_by(
    loss_of: Callable[[float, float], float],
    quality: Quality,
    scores: np.ndarray,
    beside: np.ndarray,
    *,
    level: float = LEVEL,
    seed: int = 0,
) -> float:
    """Return how much worse one network is than another one at the most, with a probability.

    Both were asked about the same samples, which are drawn together: what is hard for both does not
    widen the bound.

    Args:
        loss_of: from the figures of the network and of the other one to what is lost.
        quality: of a task.
        scores: of the network, in the order of the samples ...
        beside: ... and of the other one.
        level: the probability, of one side.
        seed: of the draws.

    >>> right = np.ones(100)
    >>> worse_by(lambda one, other: other - one, np.mean, right, right)
    0.0
    """
    found = np.array(
        [
            loss_of(quality(scores[drawn]), quality(beside[drawn]))
            for drawn in _draws(len(scores), seed)
        ]
    )
    found = found[np.isfinite(found)]
    return float(np.quantile(found, level)) if len(found) else float("nan")


def _draws(count: int, seed: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    return (generator.integers(count, size=count) for _ in range(RESAMPLES))


def _between(found: np.ndarray, tail: float) -> tuple[float, float]:
    found = found[np.isfinite(found)]
    if not len(found):
        return float("nan"), float("nan")
    low, high = np.quantile(found, (tail, 1 - tail))
    return float(low), float(high)
