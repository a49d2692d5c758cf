"""``prune-channels``: remove whole channels, for real."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from hwopt.errors import HwoptError
from hwopt.passes.base import Context, Note, OptionValue, Pass, PassResult, Spread
from hwopt.passes.channels import ChannelGroup, Kept, Ranking, find_groups, label_channels
from hwopt.passes.channels.carry import Carry, carry
from hwopt.passes.channels.elimination import elimination_scores
from hwopt.passes.channels.least_squares import fit_readers
from hwopt.passes.channels.removal import keep_something, remove_channels
from hwopt.passes.channels.scores import Criterion, score_classes
from hwopt.passes.fold_constants import FoldConstants
from hwopt.passes.layers import check_share, notes_on_unknown
from hwopt.passes.rounds import between

if TYPE_CHECKING:
    from hwopt.graph import Graph

#: Why a criterion has no score for a group's channels.
_UNKNOWN = {
    "batch-norm": "no batch norm scales its channels",
    "reconstruction": "no layer that could be fitted reads its channels",
}


@dataclass(frozen=True)
class PruneChannels(Pass):
    """Remove the least important channels from every group of layers that share them.

    Channels that a residual sum, a concat, a depthwise or grouped convolution, a reshape or an
    attention ties together are scored together and go together. Nothing is masked: the tensors
    become smaller. A removed channel is held at its constant (the shift of its batch norm, or its
    bias), and what that adds to the layers that read it goes into their biases.

    Options:
        ratio: the share of channels to remove, in [0, 1).
        scope: ``group`` removes that share of each group; ``global`` of all channels together, the
            weakest of the network first, where scores are compared as shares of their group's mean
            (those of ``reconstruction`` as they are).
        ratios: other shares for single groups: [conv1:0.25,stage2:0.5] by the beginning of a
        layer's
            name; the last one that fits counts.
        criterion: what makes a channel important: ``l1`` or ``l2`` norm of the weights that make
            it, ``batch-norm`` scale, ``taylor``, ``snip``, ``reconstruction`` (what the layers that
            read it lose, all of their weights fitted anew; these three need data), or ``random``.
        batches: batches of data that ``taylor``, ``snip``, ``reconstruction`` and ``least-squares``
            look at; 0 takes all.
        multiple: the number of channels kept is rounded up to a multiple of this, where the
            group is as large; a target's vector length makes pruned layers fast. 0 takes the vector
            length of the target.
        minimum: no group keeps fewer channels than this.
        layers: only groups with a layer whose name begins with one of these; all if empty.
        parts: where channels are split into groups or attention heads, ``narrow`` all of them alike
            or remove ``whole`` ones.
        constants: what removed channels add to the layers that read them: ``bias`` adds the mean
            over positions to the bias; ``exact`` adds a map where zero padding makes positions
            differ; ``drop`` takes nothing over. ``least-squares`` goes further: these layers are
            fitted on data to say what they said before.

    Raises:
        HwoptError: if an option is out of range, or data or a target is needed and not there.

    >>> str(PruneChannels(ratio=0.3, multiple=8, ratios=(("stem", 0.0),)))
    'prune-channels{ratio=0.3,ratios=[stem:0.0],multiple=8}'
    """

    name = "prune-channels"

    ratio: float = 0.5
    scope: Literal["group", "global"] = "group"
    ratios: tuple[tuple[str, float], ...] = ()
    criterion: Criterion = "l2"
    batches: int = 1
    multiple: int = 1
    minimum: int = 1
    layers: tuple[str, ...] = ()
    parts: Literal["narrow", "whole"] = "narrow"
    constants: Carry = "bias"

    def __post_init__(self) -> None:
        super().__post_init__()
        for where, ratio in (("ratio", self.ratio), *self.ratios):
            what = where if where == "ratio" else f"ratio of {where}"
            check_share(f"pass {self.name}: {what}", ratio)
        for option, least in (("batches", 0), ("multiple", 0), ("minimum", 1)):
            if getattr(self, option) < least:
                message = f"pass {self.name}: {option} must be at least {least}"
                raise HwoptError(f"{message}, not {getattr(self, option)}")

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with the weakest channels of every group removed."""
        return self.prune(self.rank(graph, context), context)

    def prune(self, ranking: Ranking, context: Context) -> PassResult:
        """Return the graph that was ranked with its weakest channels removed."""
        graph = ranking.labels.graph
        kept, notes = self.choose(ranking, context)
        if not kept.removed.any():
            return PassResult(graph, modified=False, notes=tuple(notes))
        result = remove_channels(kept)
        notes += carry(result, kept, self.constants)
        if self.constants == "least-squares":
            notes += fit_readers(result, kept, context, self.batches)
        return PassResult(result, modified=True, notes=tuple(notes))

    def choose(self, ranking: Ranking, context: Context) -> tuple[Kept, list[Note]]:
        """Return which channels stay, and a note on every group."""
        meant = [group for group in ranking.groups if self.takes(group)]
        removed = np.zeros(len(ranking.scores), dtype=bool)
        shares = _global_shares(meant, ranking, self.ratio) if self.scope == "global" else {}
        for group in meant:
            share = self._ratio_of(group, shares.get(group, self.ratio))
            removed[self._weakest(group, ranking, context, share)] = True
        kept = Kept(ranking.labels, ranking.classes, removed)
        removed[list(keep_something(kept, ranking.scores))] = False
        names = (*self.layers, *(name for name, _ in self.ratios))
        notes = notes_on_unknown(names, (n for group in ranking.groups for n in group.layers))
        notes += [_note(group, removed, ranking, self.criterion) for group in meant]
        barriers = ranking.labels.barriers.items()
        return kept, notes + [Note(name, reason, changed=False) for name, reason in barriers]

    def rank(self, graph: Graph, context: Context) -> Ranking:
        """Return the groups of channels, and how much every channel matters."""
        # Tables of positions are cut as parameters are, however they were computed.
        graph = FoldConstants(weights=False).apply(graph, context).graph
        labels = label_channels(graph, whole_parts=self.parts == "whole")
        classes, pinned = labels.finish()
        groups = find_groups(labels, classes)
        are_losses = self.criterion == "reconstruction"
        if are_losses:
            meant = [group for group in groups if self.takes(group)]
            scores = elimination_scores(labels, classes, meant, pinned, context, self.batches)
        else:
            scores = score_classes(labels, classes, self.criterion, context, self.batches)
        return Ranking(labels, classes, pinned, groups, scores, are_losses)

    def in_rounds(self, spread: Spread) -> list[Pass]:
        """Return this pass with the ratios of every round, of the channels left by that before."""
        names = [name for name, _ in self.ratios]
        by_name = [between(spread(ratio)) for _, ratio in self.ratios]
        return [
            dataclasses.replace(
                self,
                ratio=ratio,
                ratios=tuple((name, of[n]) for name, of in zip(names, by_name, strict=True)),
            )
            for n, ratio in enumerate(between(spread(self.ratio)))
        ]

    def candidates(self, graph: Graph, context: Context) -> list[Pass]:
        """Return this pass with those of the ratios 0.1, 0.2, ... 0.8 that remove something."""
        ranking = self.rank(graph, context)
        instances = [dataclasses.replace(self, ratio=tenths / 10) for tenths in range(1, 9)]
        return [one for one in instances if one.choose(ranking, context)[0].removed.any()]

    def dimensions(
        self, graph: Graph, context: Context, levels: int = 8
    ) -> dict[str, tuple[OptionValue, ...]]:
        """Return the shares of channels that every group can keep, from all of them down."""
        ranking = self.rank(graph, context)
        found: dict[str, tuple[OptionValue, ...]] = {}
        for name, group in ranking.named_groups().items():
            counts = self.widths(group, ranking, context, levels)
            if len(counts) > 1 and self.takes(group):
                found[f"{self.name}.{name}"] = tuple(round(n / counts[0], 6) for n in counts)
        return found

    def at(self, point: Mapping[str, OptionValue]) -> Pass | None:
        """Return this pass with the shares that a point leaves of the groups."""
        ratios = tuple(
            (name.removeprefix(f"{self.name}."), round(1 - float(share), 6))
            for name, share in point.items()
            if name.startswith(f"{self.name}.") and share != 1
        )
        if not ratios:
            return None
        return dataclasses.replace(self, ratio=0.0, scope="group", ratios=ratios)

    def widths(
        self, group: ChannelGroup, ranking: Ranking, context: Context, most: int
    ) -> list[int]:
        """Return how many classes a group can keep, all of them first: multiples, evenly apart.

        Args:
            group: one of the ranking's.
            ranking: of the graph.
            context: knows the target's vector length, if ``multiple`` is 0.
            most: widths at the most, the full one counted.
        """
        free = len(ranking.removable(group))
        step = self.multiple_for(context)
        step //= math.gcd(step, group.width)
        fewest = max(1, math.ceil(self.minimum / group.width))
        wanted = [math.ceil(free * k / most / step) * step for k in range(1, most)]
        return [free, *sorted({n for n in wanted if fewest <= n < free}, reverse=True)]

    def takes(self, group: ChannelGroup) -> bool:
        """Say whether a group is among the ``layers``."""
        return not self.layers or group.is_named(self.layers)

    def _weakest(
        self, group: ChannelGroup, ranking: Ranking, context: Context, ratio: float
    ) -> list[int]:
        free = ranking.removable(group)
        if not free:
            return []
        left = self._channels_to_keep(group, len(free), context, ratio)
        return sorted(free, key=lambda c: ranking.scores[c])[: len(free) - left]

    def _channels_to_keep(
        self, group: ChannelGroup, free: int, context: Context, ratio: float
    ) -> int:
        """Return how many of the free classes stay."""
        # To the nearest, of two the larger: 0.5 of 5 leaves 3.
        wanted = math.floor(free * (1 - ratio) + 0.5 + 1e-6)
        fewest = math.ceil(self.minimum / group.width)
        step = self.multiple_for(context)
        step //= math.gcd(step, group.width)
        rounded = math.ceil(max(wanted, fewest, 1) / step) * step
        return min(free, rounded)

    def _ratio_of(self, group: ChannelGroup, otherwise: float) -> float:
        fitting = [ratio for name, ratio in self.ratios if group.is_named((name,))]
        return fitting[-1] if fitting else otherwise

    def multiple_for(self, context: Context) -> int:
        """Return the multiple of channels that is kept, with that of the target if it is 0."""
        if self.multiple:
            return self.multiple
        if context.vector_length is None:
            raise HwoptError(
                f"pass {self.name}: multiple=0 takes the vector length of the target, and none is "
                "known here: give a number, or Context(vector_length=...)"
            )
        return context.vector_length


def _global_shares(
    groups: Sequence[ChannelGroup], ranking: Ranking, ratio: float
) -> dict[ChannelGroup, float]:
    """Return the share of each group that is among the weakest channels of all groups.

    Scores of layers with different weights cannot be compared: taken are shares of the group's
    mean, as where each group's mean is one; losses are taken as they are.
    """
    scores: list[np.ndarray] = []
    owners: list[np.ndarray] = []
    for group in groups:
        own = ranking.scores[ranking.removable(group)]
        is_relative = len(own) and not ranking.are_losses
        scores.append(own / max(own.mean(), 1e-30) if is_relative else own)
        owners.append(np.full(len(own), len(owners)))
    listed = np.concatenate([*scores, np.zeros(0)])
    weakest = np.argsort(listed, kind="stable")[: round(ratio * len(listed))]
    lost = np.bincount(np.concatenate([*owners, np.zeros(0, int)])[weakest], minlength=len(groups))
    return {
        group: lost[n] / len(own)
        for n, (group, own) in enumerate(zip(groups, scores, strict=True))
        if len(own)
    }


def _note(group: ChannelGroup, removed: np.ndarray, ranking: Ranking, criterion: Criterion) -> Note:
    total = len(group.classes) * group.width
    left = int((~removed[list(group.classes)]).sum()) * group.width
    if left < total:
        return Note(str(group), f"{total} to {left} channels", changed=True)
    if all(c in ranking.pinned for c in group.classes):
        reason = f"not prunable: {ranking.pinned[group.classes[0]]}"
    elif np.isnan(ranking.scores[list(group.classes)]).all():
        reason = f"not prunable by this criterion: {_UNKNOWN.get(criterion, 'it has no score')}"
    else:
        reason = f"all {total} channels stay: ratio, multiple and minimum ask for them"
    return Note(str(group), reason, changed=False)
