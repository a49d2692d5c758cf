"""The measured latency of every group of channels at several widths."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from hwopt.allocation.allocate import Table, Width

if TYPE_CHECKING:
    from hwopt.graph import Graph
    from hwopt.passes.base import Context
    from hwopt.passes.channels import ChannelGroup, Ranking
    from hwopt.passes.prune_channels import PruneChannels

log = logging.getLogger(__name__)

_NOTHING = 1e-9

Measure = Callable[[Sequence["Graph"]], list[float]]
"""From graphs to their median latencies in ms, measured side by side."""


def share_of_latency(measure: Measure, dense: Graph, graph: Graph) -> float:
    """Return the latency of a graph as a share of that of another, measured beside it."""
    of_dense, latency = measure([dense, graph])
    return latency / of_dense


def measure_widths(
    pruning: PruneChannels, ranking: Ranking, context: Context, widths: int
) -> dict[str, list[Width]]:
    """Return the widths of every group, the full one first, with shares of the latency.

    Args:
        pruning: its ``multiple`` and ``minimum`` say which widths are offered.
        ranking: of the network, whose scores give the importance.
        context: measures each group at all its widths in one run.
        widths: how many each group is offered, the full one included.
    """
    table = {}
    for name, group in ranking.named_groups().items():
        counts = pruning.widths(group, ranking, context, widths)
        if len(counts) > 1 and pruning.takes(group):
            table[name] = _measured(pruning, name, counts, ranking, context)
    return table


def with_importance(table: Table, ranking: Ranking) -> dict[str, list[Width]]:
    """Return the same widths with the importance that other scores give them."""
    groups = ranking.named_groups()
    return {
        name: [
            dataclasses.replace(width, importance=_importance(ranking, groups[name], width))
            for width in widths
        ]
        for name, widths in table.items()
    }


def narrowed(pruning: PruneChannels, table: Table, chosen: Mapping[str, Width]) -> PruneChannels:
    """Return the pass that leaves the chosen widths and nothing else changed."""
    ratios = tuple(
        (name, 1 - width.channels / table[name][0].channels)
        for name, width in chosen.items()
        if width.channels < table[name][0].channels
    )
    # Widths are multiples already, and rounding a count up would undo the choice.
    return dataclasses.replace(pruning, ratio=0.0, ratios=ratios, multiple=1)


def _measured(
    pruning: PruneChannels, name: str, counts: list[int], ranking: Ranking, context: Context
) -> list[Width]:
    """Measure one group at every width; latencies are shares of the whole."""
    assert context.latency is not None
    group = ranking.named_groups()[name]
    graph = ranking.labels.graph
    full = [Width(counts[0], 1.0, 0.0)]
    variants = [
        narrowed(pruning, {name: full}, {name: Width(n, 0.0, 0.0)}).prune(ranking, context).graph
        for n in counts[1:]
    ]
    dense, *latencies = context.latency([graph, *variants])
    shares = [1.0, *(latency / dense for latency in latencies)]
    for count, share in zip(counts, shares, strict=True):
        log.info("%s with %d channels: %.3f of the latency", name, count * group.width, share)
    found = [Width(n, share, 0.0) for n, share in zip(counts, shares, strict=True)]
    return with_importance({name: found}, ranking)[name]


def _importance(ranking: Ranking, group: ChannelGroup, width: Width) -> float:
    """Return the logarithm of the share that a width keeps.

    That is of the group's scores; where these are losses, of what the layers that read it say.
    """
    free = ranking.removable(group)
    scores = sorted((float(ranking.scores[c]) for c in free), reverse=True)
    kept, total = sum(scores[: width.channels]), sum(scores)
    if ranking.are_losses:
        share = 1 - (total - kept)
    else:
        share = kept / total if total else width.channels / len(free)
    return math.log(max(share, _NOTHING))
