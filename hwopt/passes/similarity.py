"""How alike two weights of one shape are: 1 for equal ones, less the more they differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Similarity = Literal["cosine", "euclidean", "covariance", "cka", "wasserstein"]


def cosine(first: Tensor, second: Tensor) -> float:
    """Return (1 + cosine) / 2 of the flattened weights.

    >>> cosine(torch.ones(2, 2), -torch.ones(2, 2))
    0.0
    """
    a, b = first.flatten().double(), second.flatten().double()
    return float((1 + a @ b / (a.norm() * b.norm()).clamp(min=1e-12)) / 2)


def euclidean(first: Tensor, second: Tensor) -> float:
    """Return 1 / (1 + distance / mean norm)."""
    mean = (first.norm() + second.norm()) / 2
    return float(1 / (1 + (first - second).norm() / mean.clamp(min=1e-12)))


def covariance(first: Tensor, second: Tensor) -> float:
    """Return 1 - ||C1 - C2|| / (||C1|| + ||C2||), C of the columns, each of variance 1.

    It does not see the order of the rows, nor their scale.
    """
    a, b = (_covariance(weight) for weight in (first, second))
    return float(1 - (a - b).norm() / (a.norm() + b.norm()).clamp(min=1e-12))


def cka(first: Tensor, second: Tensor) -> float:
    """Return the linear centred kernel alignment of the rows (Kornblith et al. 2019).

    It does not see rotations of the columns, and is biased upwards for square weights.
    """
    a, b = (_centred(weight) for weight in (first, second))
    scale = (a.T @ a).norm() * (b.T @ b).norm()
    return float((a.T @ b).norm() ** 2 / scale.clamp(min=1e-12))


def wasserstein(first: Tensor, second: Tensor) -> float:
    """Return 1 / (1 + mean difference of the sorted values / their deviation).

    It does not see where the values stand.
    """
    a, b = first.flatten().sort().values, second.flatten().sort().values
    deviation = torch.cat([a, b]).std().clamp(min=1e-12)
    return float(1 / (1 + (a - b).abs().mean() / deviation))


MEASURES: dict[Similarity, Callable[[Tensor, Tensor], float]] = {
    "cosine": cosine,
    "euclidean": euclidean,
    "covariance": covariance,
    "cka": cka,
    "wasserstein": wasserstein,
}


def _centred(weight: Tensor) -> Tensor:
    matrix = weight.flatten(1).double()
    return matrix - matrix.mean(0)


def _covariance(weight: Tensor) -> Tensor:
    centred = _centred(weight)
    standard = centred / centred.norm(dim=0).clamp(min=1e-12)
    return standard.T @ standard
