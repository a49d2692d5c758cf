"""Symbolic sizes of an exported program: a multiple of the batch size, or nothing."""

from __future__ import annotations

import torch

from hwopt.graph.types import Batch, Dimension


class NotABatchMultiple(Exception):
    """A size depends on the batch size in another way than as a multiple of it."""


def batch_multiple(size: int | torch.SymInt) -> Dimension:
    """Return a size of an exported program as a dimension.

    Raises:
        NotABatchMultiple: if it is anything but a number or a multiple of one symbol.
    """
    if isinstance(size, int):
        return size
    expression = size.node.expr
    symbols = list(expression.free_symbols)
    if not symbols:
        return int(expression)
    if len(symbols) > 1:
        raise NotABatchMultiple(str(expression))
    ratio = (expression / symbols[0]).simplify()
    if not ratio.is_Integer:
        raise NotABatchMultiple(str(expression))
    return Batch(int(ratio))
