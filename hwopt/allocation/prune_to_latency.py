"""``prune-to-latency``: remove the channels that matter least until the network is fast enough."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hwopt.allocation.allocate import Allocation, Method, Table, allocate
from hwopt.allocation.choose_within import choose_within
from hwopt.allocation.widths import measure_widths, narrowed, share_of_latency
from hwopt.errors import HwoptError
from hwopt.passes.base import Context, Note, Pass, PassResult, Spread
from hwopt.passes.channels import Ranking
from hwopt.passes.channels.carry import Carry
from hwopt.passes.channels.scores import Criterion
from hwopt.passes.prune_channels import PruneChannels
from hwopt.passes.rounds import between

if TYPE_CHECKING:
    from hwopt.graph import Graph


@dataclass(frozen=True)
class PruneToLatency(Pass):
    """Prune channels so that the measured latency is a share of that of the given network.

    Every group of channels is measured on the target at several widths, side by side with the
    network as it is. Then the widths are chosen that keep most importance within the budget
    (``hwopt.allocation.allocate``), the whole is measured, and the budget of the prediction is
    moved until the measured share fits, for what groups save together is not quite what they save
    alone.

    Options:
        share: of the latency, in (0, 1).
        method: ``budgeted``, ``greedy`` or ``uniform``: see ``hwopt.allocation.allocate``.
        widths: how many widths each group is offered, the full one included.
        criterion, batches, multiple, minimum, layers, parts, constants: as for ``prune-channels``.
            What a width keeps is the logarithm of the share of its group's scores (ours): shares of
            groups in series multiply, as those of the latency do, and a group that is all but gone
            is worth nothing to the others. By ``reconstruction`` it is the logarithm of what is
            left of the variance where its readers end: a branch that adds little counts little.

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
    layers: tuple[str, ...] = ()
    parts: Literal["narrow", "whole"] = "narrow"
    constants: Carry = "bias"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share < 1:
            raise HwoptError(f"pass {self.name}: share must be in (0, 1), not {self.share}")
        if self.widths < 2:
            raise HwoptError(f"pass {self.name}: widths must be at least 2, not {self.widths}")
        self._pruning()  # checks the options that it shares

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with the chosen widths."""
        pruning = self._pruning()
        ranking = pruning.rank(graph, context)
        table = measure_widths(pruning, ranking, context, self.widths)
        if not table:
            raise HwoptError(
                f"pass {self.name}: no channels can be pruned; prune-channels lists the reasons"
            )
        best, last = choose_within(
            self.share,
            table,
            lambda budget: allocate(table, budget, self.method),
            lambda allocation: self._share(allocation, table, ranking, context),
        )
        if best is None:
            raise HwoptError(
                f"pass {self.name}: a share of {self.share} was not reached; the last choice "
                f"measured {last.share:.3f}: allow more, or a smaller minimum"
            )
        chosen = narrowed(pruning, table, best.allocation.widths)
        chosen = dataclasses.replace(chosen, constants=self.constants)
        result = chosen.prune(ranking, context)
        message = f"{best.share:.3f} of the latency before, measured side by side"
        named = ranking.named_groups().values()
        free = [g for g in ranking.groups if ranking.removable(g) and pruning.takes(g)]
        apart = [g for g in free if g not in named]
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

    def _pruning(self) -> PruneChannels:
        """Return what widths are measured with: fitted weights are as fast as any."""
        constants: Carry = "bias" if self.constants == "least-squares" else self.constants
        return PruneChannels(
            ratio=0.0,
            criterion=self.criterion,
            batches=self.batches,
            multiple=self.multiple,
            minimum=self.minimum,
            layers=self.layers,
            parts=self.parts,
            constants=constants,
        )

    def _share(
        self, allocation: Allocation, table: Table, ranking: Ranking, context: Context
    ) -> float:
        """Measure a choice of widths beside the network as it is."""
        assert context.latency is not None
        narrow = narrowed(self._pruning(), table, allocation.widths).prune(ranking, context).graph
        return share_of_latency(context.latency, ranking.labels.graph, narrow)
