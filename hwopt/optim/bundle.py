"""The problem that BORAT solves at every step, exactly."""

from __future__ import annotations

import functools
import itertools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: Of solutions of systems that are scaled to a trace of 1.
LARGEST_RESIDUAL = 1e-9


def solve(gram: Array, offsets: Array) -> Array:
    """Return the weights of the pieces of a bundle in the next step.

    The maximum of D(a) = b a - a Q a / 2 over a >= 0 with sum a = 1. Every support is tried: for N
    pieces 2^N - 1 linear systems. Singular ones, of parallel gradients, are left out: then a
    smaller support is as good. Source: Paren et al. 2022 (BORAT).

    Args:
        gram: Q_ij, the inner product of the pieces' gradients times the step size, float64 (N, N).
        offsets: b_n, the pieces' values at the centre of the bundle, float64 (N,).

    Returns:
        a, float64 (N,). It is not unique where pieces coincide; the step is.

    >>> solve(np.diag([22.5, 0.625, 0.0]), np.array([4.5, 0.125, 0.0])).round(6)
    array([0.2, 0.2, 0.6])
    """
    best, weights = -np.inf, np.zeros(len(offsets))
    scale = float(np.trace(gram)) or 1.0
    gram, offsets = gram / scale, offsets / scale
    for support in _supports(len(offsets)):
        chosen = list(support)
        candidate = _stationary(gram[np.ix_(chosen, chosen)], offsets[chosen])
        if candidate is None or candidate.min() < 0:
            continue
        curved = candidate @ gram[np.ix_(chosen, chosen)] @ candidate / 2
        value = float(candidate @ offsets[chosen] - curved)
        if value > best:
            best, weights = value, np.zeros(len(offsets))
            weights[chosen] = candidate
    return weights


def _stationary(gram: Array, offsets: Array) -> Array | None:
    """Return where D is stationary among the weights that sum to 1; None if not at one place."""
    size = len(offsets)
    system = np.ones((size + 1, size + 1))
    system[:size, :size] = gram
    system[size, size] = 0.0
    wanted = np.append(offsets, 1.0)
    try:
        found = np.linalg.solve(system, wanted)
    except np.linalg.LinAlgError:
        return None
    largest = LARGEST_RESIDUAL * max(1.0, float(np.abs(wanted).max()))
    return found[:size] if np.abs(system @ found - wanted).max() <= largest else None


@functools.cache
def _supports(size: int) -> list[tuple[int, ...]]:
    return [
        support
        for count in range(1, size + 1)
        for support in itertools.combinations(range(size), count)
    ]
