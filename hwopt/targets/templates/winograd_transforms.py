"""The transformations of Winograd's minimal filtering F(m x m, 3x3), for tiles of m = 2 and m = 4.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), section 4: a tile of
m x m results is  A^T [ (G g G^T) * (B^T d B) ] A  of a tile ``d`` of (m + 2)^2 inputs and the
weights ``g``. For m = 2 the polynomials are evaluated at 0, 1, -1 and infinity; for m = 4 at 0, 1,
-1, 2, -1/2 and infinity. The points decide how large rounding errors are: Barabasz et al., "Error
Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks", 2020.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Transforms:
    """The transformations for one size of tile.

    Attributes:
        tile: rows and columns of results in a tile.
        weights: G, of shape (tile + 2, 3).
        inputs: B^T times a column of tile + 2 values.
        results: A^T times a column of tile + 2 values.
        input_cost, result_cost: vector operations, loads and stores included, that transform one
            vector of a tile of inputs, and of results.
    """

    tile: int
    weights: np.ndarray
    inputs: Callable[[Sequence[Any]], list[Any]]
    results: Callable[[Sequence[Any]], list[Any]]
    input_cost: int
    result_cost: int

    @property
    def points(self) -> int:
        """Return the number of points in one dimension."""
        return self.tile + 2


def _inputs_of_2(d: Sequence[Any]) -> list[Any]:
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _results_of_2(m: Sequence[Any]) -> list[Any]:
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _inputs_of_4(d: Sequence[Any]) -> list[Any]:
    # Differences of (x^2 - 1), then the factors of each point's polynomial.
    one, two, three = d[3] - d[1], d[4] - d[2], d[5] - d[3]
    low, high = one - 1.5 * d[2], two - 1.5 * d[3]
    return [
        two - 1.5 * one - (d[2] - d[0]),
        high + low,
        high - low,
        two + 0.5 * one,
        two - 2.0 * one,
        three - 1.5 * two - one,
    ]


def _results_of_4(m: Sequence[Any]) -> list[Any]:
    total, difference = m[1] + m[2], m[1] - m[2]
    return [
        m[0] + total + m[3] + m[4],
        difference + 2.0 * m[3] - 0.5 * m[4],
        total + 4.0 * m[3] + 0.25 * m[4],
        difference + 8.0 * m[3] - 0.125 * m[4] + m[5],
    ]


_WEIGHTS_OF_2 = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
# [1, p, p^2] for each point p, divided by the product of its distances to the other points.
_WEIGHTS_OF_4 = np.array(
    [
        [1, 0, 0],
        [-1 / 3, -1 / 3, -1 / 3],
        [1 / 3, -1 / 3, 1 / 3],
        [1 / 15, 2 / 15, 4 / 15],
        [-16 / 15, 8 / 15, -4 / 15],
        [0, 0, 1],
    ]
)

TRANSFORMS = {
    2: Transforms(2, _WEIGHTS_OF_2, _inputs_of_2, _results_of_2, 80, 60),
    4: Transforms(4, _WEIGHTS_OF_4, _inputs_of_4, _results_of_4, 250, 200),
}
