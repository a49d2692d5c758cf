"""``prune-to-latency``: remove the channels that matter least until the network is fast enough."""

from __future__ import annotations

import dataclasses
import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hwopt.errors import HwoptError
from hwopt.passes.base import Context, Note, Pass, PassResult, Spread
from hwopt.passes.channels import ChannelGroup
from hwopt.passes.channels.constants import Carry
from hwopt.passes.channels.scores import Criterion
from hwopt.passes.prune_channels import PruneChannels, Ranking
from hwopt.passes.rounds import between
from hwopt.search.allocate import Method, Width, allocate, fastest

if TYPE_CHECKING:
    from hwopt.graph import Graph

log = logging.getLogger("hwopt.search")

#: Measured again after the budget of the prediction has been moved, at most so often.
_CORRECTIONS = 8
_TOLERANCE = 0.02
_ROUNDING = 1e-6
_NOTHING = 1e-9


@dataclass(frozen=True)
class PruneToLatency(Pass):
    """Prune channels so that the measured latency is a share of that of the given network.

    Every group of channels is measured on the target at several widths, side by side with the
    network as it is. Then the widths are chosen that keep most importance within the budget
    (``hwopt.search.allocate``), the whole is measured, and the budget of the prediction is moved
    until the measured share fits, for what groups save together is not quite what they save alone.

    Options:
        share: of the latency, in (0, 1).
        method: ``budgeted``, ``greedy`` or ``uniform``: see ``hwopt.search.allocate``.
        widths: how many widths each group is offered, the full one included.
        criterion, batches, multiple, minimum, parts, constants: as for ``prune-channels``. What
            a width keeps is the logarithm of the share of its group's scores (ours): shares of
            groups in series multiply, as those of the latency do, and a group that is all but gone
            is worth nothing to the others.

    Raises:
        HwoptError: if an option is out of range, latency cannot be measured here, or the share
            cannot be reached.

    >>> str(PruneToLatency(share=0.45))
    'prune-to-latency{share=0.45}'
    """

    name = "prune-to-latency"
    needs_latency = True

    share: float = 0.5
    method: Method = "budgeted"
    widths: int = 8
    criterion: Criterion = "taylor"
    batches: int = 10
    multiple: int = 1
    minimum: int = 1
    parts: Literal["narrow", "whole"] = "narrow"
    constants: Carry = "bias"

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise HwoptError(f"pass {self.name}: share must be in (0, 1), not {self.share}")
        if self.widths < 2:
            raise HwoptError(f"pass {self.name}: widths must be at least 2, not {self.widths}")
        self._pruning()  # checks the options that it shares

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with the chosen widths."""
        pruning = self._pruning()
        ranking = pruning.rank(graph, context)
        groups = _named(ranking)
        table = {
            name: self._measured(graph, name, group, ranking, context)
            for name, group in groups.items()
        }
        table = {name: widths for name, widths in table.items() if len(widths) > 1}
        if not table:
            raise HwoptError(
                f"pass {self.name}: no channels can be pruned; prune-channels lists the reasons"
            )
        result, measured = self._fitted(table, ranking, context)
        message = f"{measured:.3f} of the latency before, measured side by side"
        apart = [g for g in ranking.groups if ranking.removable(g) and g not in groups.values()]
        left = [Note(str(g), "has no layer of its own to be named by: kept", False) for g in apart]
        notes = (*result.notes, *left, Note("all groups", message, changed=result.modified))
        return dataclasses.replace(result, notes=notes)

    def in_rounds(self, spread: Spread) -> list[Pass]:
        """Return this pass with the share of every round, of the latency left by that before."""
        ratios = between(spread(1 - self.share))
        return [dataclasses.replace(self, share=1 - ratio) for ratio in ratios]

    def candidates(self, graph: Graph, context: Context) -> list[Pass]:
        """Return this pass with the shares 0.8, 0.6, 0.45 and 0.3; nothing is measured."""
        return [dataclasses.replace(self, share=share) for share in (0.8, 0.6, 0.45, 0.3)]

    def _pruning(self, ratios: tuple[tuple[str, float], ...] = ()) -> PruneChannels:
        return PruneChannels(
            ratio=0.0,
            ratios=ratios,
            criterion=self.criterion,
            batches=self.batches,
            minimum=self.minimum,
            parts=self.parts,
            constants=self.constants,
        )

    def _measured(
        self, graph: Graph, name: str, group: ChannelGroup, ranking: Ranking, context: Context
    ) -> list[Width]:
        """Measure one group at every width, all in one run; latencies are shares of the whole."""
        assert context.latency is not None
        free = ranking.removable(group)
        counts = self._counts(group, len(free), context)
        kept = {n: self._importance(ranking, free, n) for n in counts}
        variants = [
            self._pruning(((name, 1 - n / len(free)),)).prune(ranking, context).graph
            for n in counts[1:]
        ]
        if not variants:
            return []
        dense, *latencies = context.latency([graph, *variants])
        shares = [1.0, *(latency / dense for latency in latencies)]
        for count, share in zip(counts, shares, strict=True):
            log.info("%s with %d channels: %.3f of the latency", name, count * group.width, share)
        return [Width(n, share, kept[n]) for n, share in zip(counts, shares, strict=True)]

    def _counts(self, group: ChannelGroup, free: int, context: Context) -> list[int]:
        """Return the numbers of classes that are offered, the full one first."""
        step = self.multiple or context.vector_length or 1
        step //= math.gcd(step, group.width)
        fewest = max(1, math.ceil(self.minimum / group.width))
        wanted = [math.ceil(free * k / self.widths / step) * step for k in range(1, self.widths)]
        counts = {n for n in wanted if fewest <= n < free}
        return [free, *sorted(counts, reverse=True)] if free else []

    def _importance(self, ranking: Ranking, free: list[int], count: int) -> float:
        scores = sorted((float(ranking.scores[c]) for c in free), reverse=True)
        kept, total = sum(scores[:count]), sum(scores)
        return math.log(max(kept / total, _NOTHING)) if total else math.log(count / len(free))

    def _fitted(
        self, table: dict[str, list[Width]], ranking: Ranking, context: Context
    ) -> tuple[PassResult, float]:
        """Return what keeps most importance of all that was measured to be within the budget."""
        assert context.latency is not None
        low, high = fastest(table), 1.0
        # What is predicted of the fastest may be more than it takes.
        budget = max(self.share, low)
        best: tuple[float, PassResult, float] | None = None
        # The network as it is has its latency, whatever a second measurement says.
        tried: dict[tuple[tuple[str, float], ...], float] = {(): 1.0}
        while len(tried) <= _CORRECTIONS:
            allocation = allocate(table, budget, self.method)
            ratios = tuple(
                (name, 1 - width.channels / table[name][0].channels)
                for name, width in allocation.widths.items()
                if width.channels < table[name][0].channels
            )
            result = self._pruning(ratios).prune(ranking, context)
            if ratios not in tried:
                dense, latency = context.latency([ranking.labels.graph, result.graph])
                tried[ratios] = latency / dense
                log.info("predicted %.3f, measured %.3f", allocation.predicted_ms, tried[ratios])
            measured = tried[ratios]
            if measured <= self.share:
                low = max(low, budget)
                if best is None or allocation.importance > best[0]:
                    best = (allocation.importance, result, measured)
            else:
                high = min(high, allocation.predicted_ms, budget)
            if self.share - _TOLERANCE <= measured <= self.share or high - low < _ROUNDING:
                break
            budget *= self.share / measured
            if not low < budget < high:
                budget = (low + high) / 2
        if best is None:
            raise HwoptError(
                f"pass {self.name}: a share of {self.share} was not reached; the last choice "
                f"measured {measured:.3f}: allow more, or a smaller minimum"
            )
        return best[1:]


def _named(ranking: Ranking) -> dict[str, ChannelGroup]:
    """Return the groups by a layer that is in no other group."""
    found = {}
    for group in ranking.groups:
        if not ranking.removable(group):
            continue
        for layer in group.layers:
            name = layer.removesuffix(".weight")
            if sum(other.is_named((name,)) for other in ranking.groups) == 1:
                found[name] = group
                break
    return found
