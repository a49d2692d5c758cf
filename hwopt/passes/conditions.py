"""The conditions that passes require and ensure, checked on a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwopt.passes.base import Condition

if TYPE_CHECKING:
    from hwopt.graph import Graph


def violation(graph: Graph, condition: Condition) -> str | None:
    """Return where a condition does not hold, or None if it holds."""
    return _CHECKS[condition](graph)


def _foldable_batch_norm(graph: Graph) -> str | None:
    from hwopt.passes.fold_batch_norm import obstacle

    for node in graph.nodes("batch_norm"):
        if obstacle(graph, node) is None:
            return f"{node.name} can be folded: apply fold-batch-norm first"
    return None


def _dead_code(graph: Graph) -> str | None:
    from hwopt.graph.cleanup import unused

    dead = unused(graph)
    return f"{dead[0]} is not used: apply eliminate-dead-code first" if dead else None


_CHECKS = {
    Condition.NO_BATCH_NORM_AFTER_CONVOLUTION: _foldable_batch_norm,
    Condition.NO_DEAD_CODE: _dead_code,
}
