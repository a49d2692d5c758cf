"""Scores of channels by what the layers that read them lose without them, all refitted."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import torch

from hwopt.passes.channels.groups import ChannelGroup
from hwopt.passes.channels.labels import ChannelLabels, Labels
from hwopt.passes.channels.moments import Moments, inputs_of, read_by, with_ridge
from hwopt.passes.channels.readers import Reader

if TYPE_CHECKING:
    from hwopt.passes.base import Context


def elimination_scores(
    labels: ChannelLabels,
    classes: Labels,
    groups: list[ChannelGroup],
    pinned: Collection[int],
    context: Context,
    batches: int,
) -> np.ndarray:
    """Return the score of every class of labels, float64; NaN where no layer can be refitted.

    Of a group the channel goes first without which its readers, their weights fitted anew by least
    squares to the channels that are left, are nearest to what they said; then the next one in what
    is left. That is the optimal brain surgeon (Hassibi and Stork 1993) on the outputs of layers,
    with the weights of a channel as one block, as ZipLM has it (Kurtic et al. 2023). The score is
    the error that it adds, as a share of the variance at the readers' ends (ours: so that branches
    that add little to a sum count little).

    Args:
        labels: of the graph.
        classes: the class of every label.
        groups: whose classes are scored.
        pinned: classes that stay, whatever happens.
        context: offers the batches.
        batches: how many are looked at; 0 takes all.

    Raises:
        HwoptError: if there is no data.
    """
    graph = labels.graph
    found = (Reader.of(graph, n) for n in graph.nodes() if n.name not in labels.separate)
    members = {c for group in groups for c in group.classes}
    readers = {
        reader.node.name: (reader, columns)
        for reader in found
        if reader is not None and (columns := _columns(labels, classes, reader, members))
    }
    inputs = inputs_of(graph, context, batches)
    moments = read_by(graph, [reader for reader, _ in readers.values()], inputs)
    scores = np.full(int(classes.max()) + 1 if len(classes) else 0, np.nan)
    for group in groups:
        known = set().union(*(columns for _, columns in readers.values())) - set(pinned)
        free = [index for index in group.classes if index in known]
        reads = []
        for name, (reader, columns) in readers.items():
            own = [torch.tensor(columns.get(c, []), dtype=torch.long) for c in free]
            if any(len(one) for one in own) and moments[name].variance() > 0:
                weight = graph.parameter(reader.weight).flatten(1) * reader.scale[:, None]
                reads.append(_Elimination(weight, moments[name], own))
        if reads:
            scores[free] = _eliminate(len(free), reads).numpy()
    return scores


def _columns(
    labels: ChannelLabels, classes: Labels, reader: Reader, members: set[int]
) -> dict[int, list[int]]:
    """Return the columns of a reader's weight that multiply channels of each class."""
    known = labels.values.get(reader.node.input)
    axis = reader.channel_axis
    if known is None or known.shape[axis] == 1 or known.size > known.shape[axis]:
        return {}
    per_channel = math.prod(reader.shape[2:])
    columns: dict[int, list[int]] = defaultdict(list)
    for channel, index in enumerate(classes[known.reshape(-1)].tolist()):
        if index in members:
            columns[index] += range(channel * per_channel, (channel + 1) * per_channel)
    return columns


class _Elimination:
    """One reader while columns of its weight go, the others fitted anew."""

    def __init__(self, weight: torch.Tensor, moments: Moments, columns: list[torch.Tensor]) -> None:
        """Begin with all columns.

        Args:
            weight: shape (outputs, columns), times the reader's scale.
            moments: of what it reads.
            columns: those of every member of the group, which may be none.
        """
        self._inverse = torch.linalg.inv(with_ridge(moments.of_first()))
        # The error counts at the reader's end, as a share of what varies there.
        self._weight = weight.double().T / moments.variance() ** 0.5
        self._columns = columns
        sizes = {len(one) for one in columns} - {0}
        self._by_size = [[n for n, one in enumerate(columns) if len(one) == s] for s in sizes]
        self._at = [torch.stack([columns[n] for n in members]) for members in self._by_size]

    def add_costs(self, total: torch.Tensor) -> None:
        """Add the error that comes with every member if it goes next; 0 if it has gone."""
        for members, at in zip(self._by_size, self._at, strict=True):
            weight = self._weight[at]  # (members, size, outputs)
            blocks = self._inverse[at[:, :, None], at[:, None, :]]
            fitted = weight / blocks if at.shape[1] == 1 else torch.linalg.solve(blocks, weight)
            total[members] += (weight * fitted).sum((1, 2))

    def remove(self, member: int) -> None:
        """Remove the columns of a member and fit the weights that are left."""
        at = self._columns[member]
        if not len(at):
            return
        rows = self._inverse[at]
        gain = torch.linalg.solve(rows[:, at], rows)  # (size, columns)
        self._weight.addmm_(gain.T, self._weight[at], alpha=-1)
        self._inverse.addmm_(rows.T, gain, alpha=-1)
        self._weight[at] = 0.0
        self._inverse[at] = 0.0
        self._inverse[at, at] = 1.0  # so that it can be divided by


def _eliminate(count: int, reads: list[_Elimination]) -> torch.Tensor:
    """Return the rising scores of a group's members in the order in which they go."""
    scores, last = torch.full((count,), torch.nan, dtype=torch.float64), 0.0
    for _ in range(count):
        total = torch.zeros(count, dtype=torch.float64)
        for read in reads:
            read.add_costs(total)
        weakest = int(torch.where(scores.isnan(), total, torch.inf).argmin())
        for read in reads:
            read.remove(weakest)
        # Who reads scores sorts them: they keep the order, although errors need not rise.
        last = max(float(total[weakest]), last * (1 + 1e-12), last + 1e-30)
        scores[weakest] = last
    return scores
