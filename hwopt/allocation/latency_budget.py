"""Training into a latency budget: the network gets narrower while it learns, as measured."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from hwopt.allocation.allocate import (
    Allocation,
    Table,
    Width,
    allocate,
    fastest,
    lowest_price,
)
from hwopt.allocation.choose_within import choose_within
from hwopt.allocation.widths import (
    Measure,
    measure_widths,
    narrowed,
    share_of_latency,
    with_importance,
)
from hwopt.errors import HwoptError
from hwopt.passes import Context, apply
from hwopt.passes.condense import normalized
from hwopt.passes.prune_channels import PruneChannels
from hwopt.train.channel_slices import ChannelSlices
from hwopt.train.terms import Term

if TYPE_CHECKING:
    from hwopt.graph import Graph

#: Aimed at, so that another measurement of the result is inside the budget, too.
MARGIN = 0.96

#: What a checkpoint holds.
_STATE = (
    "dense_ms",
    "budget_ms",
    "measured_ms",
    "multiplier",
    "_predicted",
    "_epoch",
    "_steps",
    "_steps_an_epoch",
    "_importance",
    "_leaving",
)


def check_options(
    epochs: int,
    budget_ms: float | None,
    share: float | None,
    every: int,
    settled: float,
    widths: int,
) -> None:
    """Refuse what :class:`LatencyBudget` cannot do; its arguments.

    Raises:
        HwoptError: if an option is out of range.
    """
    if (budget_ms is None) == (share is None) or not (budget_ms or share or 0) > 0:
        raise HwoptError(
            "a latency budget takes either ms or a share of the latency, above 0, not "
            f"{budget_ms} ms and a share of {share}"
        )
    if not 0 < settled < 1 or every < 1 or widths < 2:
        raise HwoptError(
            "a latency budget takes settled in (0, 1), every of 1 or more and widths of 2 or more, "
            f"not {settled}, {every} and {widths}"
        )
    if epochs < every + 2:
        raise HwoptError(
            f"{epochs} epochs leave no round of {every} for the latency budget after the first "
            "epoch, and one epoch at the end: train longer, or measure more often"
        )


def limit_ms(latency_ms: float, budget_ms: float | None, share: float | None) -> float:
    """Return the budget, which may be a share of ``latency_ms``, in ms."""
    if share is None:
        assert budget_ms is not None
        return budget_ms
    return share * latency_ms


class LatencyBudget(Term):
    """Train until the network, without the channels that became zero, is within a budget.

    The measured latency is a constraint, and its multiplier is the price of latency. Before
    training every group of channels is measured at several widths. After the first epoch, and every
    few epochs from then on, what is left of the network is condensed, compiled and measured; the
    budget of the round is corrected by how far the last prediction was off; the most important
    widths that fit are found (``allocate``), and the multiplier is the price that belongs to them;
    the group sparsity of a channel that is to go becomes as strong as takes its norm to zero until
    the next measurement. The last round measures before it shrinks, and chooses again until the
    budget is met. From then on the widths stay, and the training goes on. Channels that a layer or
    group normalization counts stay, for the statistics are of all of them, and so do groups without
    a layer of their own.

    Worth is the logarithm of the share of a group's importance that is left; the importance of a
    channel is the squared product of weights and gradients, summed over what makes, scales and
    shifts it, the mean over steps (Molchanov et al. 2019). Budgets of rounds fall geometrically.
    Method: ours, after Kag's constraints and Bi's group sparsity.

    Args:
        graph: of the model that is trained; its widths are the full ones.
        latency: the median latencies of graphs in ms, measured side by side with the first one,
            such as ``hwopt.compiler.graph_latency.GraphLatency``.
        epochs: of the training.
        budget_ms: the latency to be reached, in the same measure, or ...
        share: ... the share of the network's latency now.
        every: epochs between two measurements.
        settled: the share of the epochs after which the widths stay, in (0, 1); there is one round
            in any case.
        widths: how many each group is offered, the full one included.
        multiple, minimum: of the channels of a group, as for ``prune-channels``.

    Raises:
        HwoptError: if an option is out of range, or nothing can be pruned.

    Attributes:
        dense_ms: the latency before the training.
        budget_ms: what is to be reached.
        measured_ms: the latency at the last measurement.
        multiplier: in units of importance a factor e of latency.

    >>> from hwopt import data, import_model, models, train
    >>> digits = data.load("digits")
    >>> model = models.create("resnet8", input_shape=digits.input_shape, width=4)
    >>> graph = import_model(model, torch.zeros(1, *digits.input_shape))
    >>> def latency(graphs):  # or hwopt.compiler.graph_latency.GraphLatency(target)
    ...     return [graph.macs() / 1e6 for graph in graphs]
    >>> term, module = LatencyBudget(graph, latency, epochs=3, share=0.5), graph.to_torch()
    >>> history = train.fit(module, digits, epochs=3, terms=[term], progress=False)
    >>> term.measured_ms <= term.budget_ms, term.condensed().macs() <= 0.5 * graph.macs()
    (True, True)
    """

    alone = True  # others would disturb its measurements

    def __init__(
        self,
        graph: Graph,
        latency: Measure,
        epochs: int,
        *,
        budget_ms: float | None = None,
        share: float | None = None,
        every: int = 1,
        settled: float = 0.4,
        widths: int = 8,
        multiple: int = 1,
        minimum: int = 1,
    ) -> None:
        check_options(epochs, budget_ms, share, every, settled, widths)
        self.rounds = max(every, math.floor(settled * epochs) - 1) // every
        self.graph, self.latency = graph, latency
        self._budget = f"{budget_ms} ms" if share is None else f"{share} of the latency"
        self._given_ms, self._given_share = budget_ms, share
        self.epochs, self.every, self.widths = epochs, every, widths
        # What shrank to zero is no constant that another layer would have to take over.
        self._pruning = PruneChannels(
            ratio=0.0, multiple=multiple, minimum=minimum, constants="drop"
        )
        self._context = Context(latency=latency)
        ranking = self._pruning.rank(graph, self._context)
        scores = ranking.scores.copy()
        scores[normalized(ranking.labels, ranking.classes)] = np.nan  # condense keeps them
        self._channels = ChannelSlices.of(graph, affine=True)
        scores[~self._channels.removable().numpy()] = np.nan
        self._ranking = dataclasses.replace(ranking, scores=scores)

    def __str__(self) -> str:
        return (
            f"latency budget {self._budget} {self.epochs} {self.every} {self.rounds} "
            f"{self.widths} {self._pruning}"
        )

    def start(self, model: nn.Module, samples: int) -> None:
        """Find the channels in the model; nothing is measured yet."""
        self._model, self._parameters = model, dict(model.named_parameters())
        self._channels.check(self._parameters)
        self._table: Table = {}
        self.dense_ms = self.budget_ms = self.measured_ms = self.multiplier = 0.0
        self._predicted = 1.0
        self._epoch = self._steps = self._steps_an_epoch = 0
        self._importance = torch.zeros(self._channels.count)
        self._leaving = torch.zeros(self._channels.count, dtype=torch.bool)

    def start_epoch(self, learning_rate: float) -> None:
        """Measure what is left and choose what is to go, if a round begins."""
        if self._epoch == 0:
            self._measure_widths()
        if self._epoch == 1:
            self._steps_an_epoch = self._steps
        self._epoch += 1
        rounds, since = divmod(self._epoch - 2, self.every)
        if since == 0 and 0 <= rounds <= self.rounds and self.budget_ms < self.dense_ms:
            share = self._share(self.condensed()) if self._leaving.any() else 1.0
            self.measured_ms = share * self.dense_ms
            if rounds < self.rounds:
                self._begin_round(rounds + 1, share)

    def after_step(self, learning_rate: float) -> None:
        """Take the gradients into account, and shrink the channels that are to go."""
        self._steps += 1
        weights = {name: self._parameters[name].detach() for name in self._channels.slices}
        products = {name: self._gradient(name) * weight for name, weight in weights.items()}
        self._importance += self._channels.sums(products) ** 2
        if self._leaving.any():
            self._channels.scale(weights, torch.where(self._leaving, 1 - self.strength, 1.0))

    @property
    def strength(self) -> float:
        """The share of its norm that a channel that is to go loses in this step."""
        left = self._steps_an_epoch * self.every - self._steps + 1
        return 1 / max(1, left)

    def note(self) -> str:
        """Return where the training stands."""
        return (
            f"latency {self.measured_ms:.4g} of {self.budget_ms:.4g} ms, "
            f"multiplier {self.multiplier:.3g}"
        )

    def condensed(self) -> Graph:
        """Return what the model is now, without the channels that are zero."""
        return apply(self.graph.with_weights_of(self._model), "condense")

    def state(self) -> dict[str, Any]:
        """Return what was measured and chosen."""
        table = {
            name: [dataclasses.astuple(width) for width in widths]
            for name, widths in self._table.items()
        }
        return {"table": table} | {name: getattr(self, name) for name in _STATE}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._table = {
            name: [Width(*width) for width in widths] for name, widths in state["table"].items()
        }
        for name in _STATE:
            setattr(self, name, state[name])

    def _measure_widths(self) -> None:
        """Measure the network, and every group at its widths."""
        self._table = measure_widths(self._pruning, self._ranking, self._context, self.widths)
        if not self._table:
            raise HwoptError(
                "LatencyBudget: no channels can be removed; prune-channels and condense list the "
                "reasons"
            )
        (self.dense_ms,) = self.latency([self.graph])
        self.budget_ms = limit_ms(self.dense_ms, self._given_ms, self._given_share)
        self.measured_ms = self.dense_ms

    def _begin_round(self, number: int, share: float) -> None:
        """Choose what goes in a round, from 1 on; in the last one until it fits as measured."""
        scores = (self._importance / max(1, self._steps)).double().numpy()
        scores = np.where(np.isnan(self._ranking.scores), np.nan, scores)
        ranking = dataclasses.replace(self._ranking, scores=scores)
        table = with_importance(self._table, ranking)
        wanted = (MARGIN * self.budget_ms / self.dense_ms) ** (number / self.rounds)

        def choose(predicted: float) -> Allocation:
            return allocate(table, max(predicted, fastest(table)))

        def removal(allocation: Allocation) -> PruneChannels:
            return narrowed(self._pruning, table, allocation.widths)

        def measure(allocation: Allocation) -> float:
            return self._share(removal(allocation).prune(ranking, self._context).graph)

        first = wanted * self._predicted / share
        allocation = choose(first)
        if number == self.rounds:
            best, last = choose_within(wanted, table, choose, measure, first)
            allocation = (best or last).allocation
        self._predicted = allocation.predicted
        self.multiplier = lowest_price(table, allocation.predicted)
        kept, _ = removal(allocation).choose(ranking, self._context)
        self._leaving = torch.from_numpy(kept.removed)
        self._importance, self._steps = torch.zeros_like(self._importance), 0

    def _share(self, graph: Graph) -> float:
        return share_of_latency(self.latency, self.graph, graph)

    def _gradient(self, name: str) -> Tensor:
        parameter = self._parameters[name]
        return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
