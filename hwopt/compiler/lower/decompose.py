"""Operators beyond the table, as torch itself puts them together from those of core ATen."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from hwopt.compiler.lower.table import CONVERTERS, key
from hwopt.errors import HwoptError, first_line
from hwopt.graph.operators import decompositions


@functools.cache
def _tables() -> tuple[dict[Any, Callable[..., Any]], ...]:
    """Return decompositions, ours and torch's: into core ATen, and all that it has besides."""
    from torch._decomp import core_aten_decompositions, global_decomposition_table

    core = {**core_aten_decompositions(), **decompositions()}
    more = {**global_decomposition_table["post_autograd"], **core}
    return tuple({k: v for k, v in table.items() if not _is_converted(k)} for table in (core, more))


def _is_converted(operator: Any) -> bool:
    return not isinstance(operator, torch._ops.OpOverload) or key(str(operator)) in CONVERTERS


def decomposed(function: Callable[..., Any], examples: list[torch.Tensor], place: str) -> fx.Graph:
    """Trace a function of tensors into operators that torch decomposes no further.

    Args:
        function: of tensors, one for each example.
        examples: tensors whose shapes and dtypes count.
        place: the node, for messages.

    Raises:
        HwoptError: if what is computed depends on the numbers in the tensors.
    """
    found = fx.Graph()
    for table in _tables():
        found = _traced(function, examples, place, table)
        if all(_is_ready(node) for node in found.nodes):
            break
    return found


def _is_ready(node: fx.Node) -> bool:
    return not isinstance(node.target, torch._ops.OpOverload) or _is_converted(node.target)


def _traced(
    function: Callable[..., Any], examples: list[torch.Tensor], place: str, table: dict[Any, Any]
) -> fx.Graph:
    with FakeTensorMode() as mode, torch.no_grad():
        fakes = [mode.from_tensor(example) for example in examples]
        try:
            traced = make_fx(lambda given: function(*given), decomposition_table=table)(fakes)
            if any(map(_writes, traced.graph.nodes)):
                functional = torch.func.functionalize(traced)
                traced = make_fx(functional, decomposition_table=table)(fakes)
        except Exception as error:  # torch raises whatever its decompositions raise
            raise HwoptError(f"{place} cannot be decomposed: {first_line(error)}") from error
    return traced.graph


def _writes(node: fx.Node) -> bool:
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable
