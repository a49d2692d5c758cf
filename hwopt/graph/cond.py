"""A choice between two rows of results; an artefact computes only those that are asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from hwopt.errors import HwoptError
from hwopt.graph import composed

SCHEMA = "(Tensor predicate, Tensor then, Tensor otherwise) -> Tensor"


def cond(predicate: Tensor, then: Tensor, otherwise: Tensor) -> Tensor:
    """Return the rows of ``then`` where the predicate holds, elsewhere those of ``otherwise``.

    In torch both are there already. An artefact computes what only one of them needs when a row of
    the batch asks for it.

    Args:
        predicate: bool (N,).
        then, otherwise: of equal shape (N, ...) and dtype.

    Raises:
        HwoptError: if dtypes or shapes do not fit each other.

    >>> cond(torch.tensor([True, False]), torch.ones(2, 3), torch.zeros(2, 3))
    tensor([[1., 1., 1.],
            [0., 0., 0.]])
    """
    rows = (then.shape[0],) if then.dim() else ()
    if predicate.dtype != torch.bool or predicate.shape != rows or not rows:
        raise HwoptError(
            "cond: the predicate must be bool, one a row, not "
            f"{str(predicate.dtype).removeprefix('torch.')} {tuple(predicate.shape)} for rows of "
            f"{tuple(then.shape)}"
        )
    if then.shape != otherwise.shape or then.dtype != otherwise.dtype:
        raise HwoptError(
            f"cond: both results must be alike, not {then.dtype} {tuple(then.shape)} and "
            f"{otherwise.dtype} {tuple(otherwise.shape)}"
        )
    return torch.where(predicate.reshape(-1, *[1] * (then.dim() - 1)), then, otherwise)


OPERATOR = composed.define(cond, SCHEMA)
