"""The latency of a network from the times of its kernels, as measured networks have it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import lsq_linear

#: Networks from which on what a table has of whole networks corrects the sum of kernels.
FEWEST_NETWORKS = 8
#: How far a network is from what its kernels say where no network was measured, our guess.
_UNKNOWN_SPREAD = 0.15
#: That networks are left out in.
_MOST_PARTS = 40
#: Of the ridge, on features of root mean square 1. The bytes of kinds go together in networks; this
#: keeps one of them from standing for all.
_RIDGE = 0.1


class TimedKernel(NamedTuple):
    """A kernel of a network: its kind, calls, bytes touched in thousands, and us of one call."""

    kind: str
    calls: int
    kilobytes: float
    us: float


class NetworkPredictor:
    """Latency as a sum of the kernels' times, of the bytes that kinds of kernels touch, and 1.

    Timed by itself, a kernel has its data in the nearest caches; in a model they come from other
    cores and from far caches, and every call takes time. The factors are at least 0, and minimise
    relative errors (our method).

    Args:
        networks: the kernels of measured networks ...
        us: ... and their latencies in microseconds.

    Attributes:
        spread: the standard deviation of relative errors, on networks left out one by one (where
            there are many, some at once).
    """

    def __init__(self, networks: Sequence[Sequence[TimedKernel]], us: Sequence[float]) -> None:
        self._kinds = sorted({kernel.kind for kernels in networks for kernel in kernels})
        self._factors, self.spread = np.array([1.0, *(0.0 for _ in self._kinds), 0.0]), 0.0
        self._of_unknown = 0.0
        if len(networks) < FEWEST_NETWORKS:
            self.spread = _UNKNOWN_SPREAD
            return
        shares = np.array([self._features(one) for one in networks]) / np.array(us)[:, None]
        self._factors = _fitted(shares)
        parts = np.array_split(np.arange(len(us)), min(len(us), _MOST_PARTS))
        left_out = [shares[i] @ _fitted(np.delete(shares, i, axis=0)) - 1 for i in parts]
        self.spread = math.sqrt(float(np.mean(np.square(np.concatenate(left_out)))))
        self._of_unknown = float(np.mean(self._factors[1:-1]))

    def __call__(self, kernels: Sequence[TimedKernel]) -> float:
        """Return the latency of a network in microseconds."""
        known = set(self._kinds)
        unknown = sum(k.calls * k.kilobytes for k in kernels if k.kind not in known)
        return float(self._features(kernels) @ self._factors) + self._of_unknown * unknown

    def _features(self, kernels: Sequence[TimedKernel]) -> np.ndarray:
        touched: dict[str, float] = dict.fromkeys(self._kinds, 0.0)
        for kernel in kernels:
            touched[kernel.kind] = touched.get(kernel.kind, 0.0) + kernel.calls * kernel.kilobytes
        time = sum(kernel.calls * kernel.us for kernel in kernels)
        return np.array([time, *(touched[kind] for kind in self._kinds), 1.0])


def _fitted(shares: np.ndarray) -> np.ndarray:
    """Return factors with which all rows sum up to nearly 1."""
    scale = np.sqrt(np.mean(shares**2, 0))
    scale = np.where(scale > 0, scale, 1.0)
    size = shares.shape[1]
    rows = np.r_[shares / scale, math.sqrt(_RIDGE) * np.eye(size)]
    goals = np.r_[np.ones(len(shares)), np.zeros(size)]
    factors: np.ndarray = lsq_linear(rows, goals, bounds=(0, np.inf)).x / scale
    return factors
