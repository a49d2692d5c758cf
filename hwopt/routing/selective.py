"""Answers with few errors: from which score on a classifier should answer at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwopt.errors import HwoptError


@dataclass(frozen=True)
class Selection:
    """How a classifier does that answers where a score reaches a threshold.

    Attributes:
        model: the position of the classifier among those that were given.
        threshold: an input is answered if any of its scores is at least this.
        coverage: the share of the inputs that is answered.
        error: the share of these whose answer is wrong; 0 if there is none.
    """

    model: int
    threshold: float
    coverage: float
    error: float


def select(scores: np.ndarray, labels: np.ndarray, threshold: float, model: int = 0) -> Selection:
    """Return how answers do that reach a threshold.

    Args:
        scores: of every class, float (N, classes), such as softmax probabilities.
        labels: int (N,).
        threshold: 0 answers everything, more than 1 nothing.
        model: taken over into the result.

    >>> scores = np.array([[0.9, 0.1], [0.6, 0.4]])
    >>> select(scores, np.array([0, 1]), 0.7)
    Selection(model=0, threshold=0.7, coverage=0.5, error=0.0)
    """
    accepted = scores.max(1) >= threshold
    wrong = accepted & (scores.argmax(1) != labels)
    error = wrong.sum() / max(1, accepted.sum())
    return Selection(model, threshold, float(accepted.mean()), float(error))


def choose_threshold(
    scores: Sequence[np.ndarray],
    labels: np.ndarray,
    *,
    error: float | None = None,
    coverage: float | None = None,
) -> Selection:
    """Return the classifier and the threshold with the largest coverage, or the smallest error.

    Choose on samples that the classifiers were not trained on, and that are not for the test.

    Args:
        scores: of one classifier or more, each as for :func:`select`.
        labels: int (N,).
        error: the highest error that is allowed, or ...
        coverage: ... the smallest coverage.

    Raises:
        HwoptError: if not exactly one of the two is given, or no threshold reaches it.

    >>> scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> choose_threshold([scores], np.array([0, 1, 1]), error=0.0).threshold
    0.8
    """
    if (error is None) == (coverage is None):
        raise HwoptError(
            f"choose_threshold: give either an error or a coverage, not {error} and {coverage}"
        )
    found = [one for model, of_model in enumerate(scores) for one in _all(of_model, labels, model)]
    if error is not None:
        allowed = [one for one in found if one.coverage and one.error <= error]
        best = max(allowed, key=lambda one: one.coverage, default=None)
    else:
        assert coverage is not None
        allowed = [one for one in found if one.coverage >= coverage]
        best = min(allowed, key=lambda one: one.error, default=None)
    if best is None:
        wanted = f"an error of {error:g}" if error is not None else f"a coverage of {coverage:g}"
        raise HwoptError(f"no threshold gives {wanted} on these samples")
    return best


def _all(scores: np.ndarray, labels: np.ndarray, model: int) -> list[Selection]:
    """Return the selection of every threshold that makes a difference."""
    highest = scores.max(1)
    order = np.argsort(-highest, kind="stable")
    highest = highest[order]
    wrong = np.cumsum(scores.argmax(1)[order] != labels[order])
    counts = np.arange(1, len(order) + 1)
    # Equal scores are answered together.
    ends = np.flatnonzero(np.append(highest[1:] != highest[:-1], True))
    return [
        Selection(
            model, float(highest[i]), float(counts[i] / len(order)), float(wrong[i] / counts[i])
        )
        for i in ends
    ]
