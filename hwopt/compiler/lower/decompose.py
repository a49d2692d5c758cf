"""Operators beyond the table, as torch itself puts them together from those of core ATen."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from hwopt.compiler.lower.table import CONVERTERS
from hwopt.errors import HwoptError, first_line


@functools.cache
def _table() -> dict[Any, Callable[..., Any]]:
    """Return torch's decompositions of what the table does not have."""
    from torch._decomp import global_decomposition_table

    known = global_decomposition_table["post_autograd"]
    return {
        operator: function
        for operator, function in known.items()
        if isinstance(operator, torch._ops.OpOverload)
        and str(operator).partition(".")[2] not in CONVERTERS
    }


def decomposed(function: Callable[..., Any], examples: list[torch.Tensor], place: str) -> fx.Graph:
    """Trace a function of tensors into operators that torch decomposes no further.

    Args:
        function: of tensors, one for each example.
        examples: tensors whose shapes and dtypes count.
        place: the node, for messages.

    Raises:
        HwoptError: if what is computed depends on the numbers in the tensors.
    """
    with FakeTensorMode() as mode, torch.no_grad():
        fakes = [mode.from_tensor(example) for example in examples]
        try:
            traced = make_fx(lambda given: function(*given), decomposition_table=_table())(fakes)
        except Exception as error:  # torch raises whatever its decompositions raise
            raise HwoptError(f"{place} cannot be decomposed: {first_line(error)}") from error
    return traced.graph
