"""``prune-weights``: hold single weights, or blocks of them, at zero."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from hwopt.errors import HwoptError
from hwopt.passes.base import Context, Note, Pass, PassResult, Spread
from hwopt.passes.layers import check_share, is_chosen, notes_on_binary, notes_on_unknown, weights
from hwopt.passes.sensitivity import LabelSource, connection_sensitivity

if TYPE_CHECKING:
    from hwopt.graph import Graph


class EmptyLayerError(HwoptError):
    """A layer would keep no weight."""


@dataclass(frozen=True)
class PruneWeights(Pass):
    """Mask the least important weights: they are zero, and no training revives them.

    The network keeps its shape, so it is smaller on disk (zeros are stored packed) but runs the
    same dense kernels, no faster. ``condense`` then removes channels of which nothing is left.

    Options:
        ratio: the share of the weights of the chosen layers that are zero afterwards, in [0, 1).
            Weights that are masked already stay so and count.
        criterion: ``magnitude``; ``snip``: the absolute sensitivity of the loss to a factor of the
            weight (Lee et al. 2019), meant for a network that is not trained yet; ``unsupervised``:
            the same with the uniform distribution in place of labels (Lee et al. 2020); ``zero``:
            the weights that are zero already, whatever the ratio, such as an l1 penalty leaves;
            ``random``.
        batches: batches that the sensitivity is summed over, before its absolute value is taken; 0
            takes the whole set (Lee et al. 2020).
        scope: ``global`` ranks all layers together; ``layer`` takes the same share of each.
        block: [rows, columns] of a weight as a matrix (outputs, inputs x kernel) that go together.
        biases: rank biases, too, as the authors of SNIP do.
        layers: only layers whose name begins with one of these; all if empty.
        exclude: not those whose name begins with one of these.
        draw: after the masks are found, draw the weights of the chosen layers anew (truncated
            normal, variance 1 / inputs; biases zero), so that masks and weights come from two
            initialisations, as in the authors' code.

    Raises:
        HwoptError: if an option is out of range, data is needed and not there, or a layer would
            keep no weight.

    >>> str(PruneWeights(ratio=0.95, criterion="snip"))
    'prune-weights{ratio=0.95,criterion=snip}'
    """

    name = "prune-weights"

    ratio: float = 0.5
    criterion: Literal["magnitude", "snip", "unsupervised", "zero", "random"] = "magnitude"
    batches: int = 1
    scope: Literal["global", "layer"] = "global"
    block: tuple[int, ...] = (1, 1)
    biases: bool = False
    layers: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    draw: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(f"pass {self.name}: ratio", self.ratio)
        if len(self.block) != 2 or min(self.block) < 1:
            raise HwoptError(
                f"pass {self.name}: block must be [rows, columns], both at least 1, not "
                f"{list(self.block)}"
            )
        if self.batches < 0:
            raise HwoptError(f"pass {self.name}: batches must be at least 0, not {self.batches}")

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with masks on the chosen layers' weights."""
        names = weights(graph, biases=self.biases)
        notes = notes_on_unknown((*self.layers, *self.exclude), names) + notes_on_binary(graph)
        names = [name for name in names if is_chosen(name, self.layers, self.exclude)]
        if not names:
            return PassResult(graph, modified=False, notes=tuple(notes))
        masks = self._masks(graph, names, context)
        result = graph.copy()
        for name, mask in masks.items():
            if mask.dim() > 1 and not mask.any():
                raise EmptyLayerError(
                    f"pass {self.name}: no weight of {name} would be left, so nothing would reach "
                    "the layers behind: take a lower ratio, scope=layer, or exclude it"
                )
            result.set_mask(name, mask)
        if self.draw:
            _draw_weights(result, names, context)
        old = {name: graph.masks.get(name) for name in names}
        if not self.draw and all(_is_same(old[name], mask) for name, mask in masks.items()):
            reason = f"{_zeros(masks):.1%} of the weights are masked already"
            notes.append(Note("all layers", reason, changed=False))
            return PassResult(graph, modified=False, notes=tuple(notes))
        notes += [_note(name, mask) for name, mask in masks.items()]
        notes.append(Note("all layers", _what_it_brings(masks), changed=True))
        return PassResult(result, modified=True, notes=tuple(notes))

    def in_rounds(self, spread: Spread) -> list[Pass]:
        """Return this pass with the ratio of every round, of the weights of the whole network."""
        return [dataclasses.replace(self, ratio=ratio) for ratio in spread(self.ratio)]

    def candidates(self, graph: Graph, context: Context) -> list[Pass]:
        """Return this pass with the ratios 0.5, 0.8, 0.9, 0.95 and 0.98, where they mask more."""
        found: list[Pass] = []
        for ratio in (0.5, 0.8, 0.9, 0.95, 0.98):
            instance = dataclasses.replace(self, ratio=ratio)
            try:
                result = instance.apply(graph, context)
            except EmptyLayerError:
                break  # higher ratios would empty a layer, too
            found += [instance] * result.modified
        return found

    def _masks(self, graph: Graph, names: list[str], context: Context) -> dict[str, torch.Tensor]:
        """Return what stays of every parameter."""
        if self.criterion == "zero":
            return {name: graph.parameter(name) != 0 for name in names}
        scores = {
            name: score.double() for name, score in self._scores(graph, names, context).items()
        }
        for name in names:
            # What is masked already goes first, so that masks only ever grow.
            mask = graph.masks.get(name, torch.ones_like(scores[name], dtype=torch.bool))
            scores[name] = torch.where(mask, scores[name], -1.0)
        if self.scope == "global":
            return _keep_largest({n: scores[n] for n in names}, 1 - self.ratio, self.block)
        masks = [_keep_largest({n: scores[n]}, 1 - self.ratio, self.block) for n in names]
        return {name: mask for one in masks for name, mask in one.items()}

    def _scores(self, graph: Graph, names: list[str], context: Context) -> dict[str, torch.Tensor]:
        if self.criterion == "magnitude":
            return {name: graph.parameter(name).abs() for name in names}
        if self.criterion == "random":
            generator = context.generator()
            shapes = {name: graph.parameter(name).shape for name in names}
            return {n: torch.rand(shape, generator=generator) for n, shape in shapes.items()}
        labels: LabelSource = "uniform" if self.criterion == "unsupervised" else "true"
        return connection_sensitivity(graph, context, self.batches, labels=labels)


def _keep_largest(
    scores: dict[str, torch.Tensor], share: float, block: tuple[int, ...]
) -> dict[str, torch.Tensor]:
    """Return the masks that keep the blocks with the largest mean score; ties by their order."""
    grids = {name: _block_means(score, block) for name, score in scores.items()}
    flat = torch.cat([means.reshape(-1) for means, _ in grids.values()])
    sizes = torch.cat([size.reshape(-1) for _, size in grids.values()])
    total = int(sizes.sum())
    # The small addition keeps 0.05 x 60 from becoming 2 (0.05 is 1 - 0.95, a little less).
    kept = round(share * total + 1e-9)
    order = torch.sort(flat, descending=True, stable=True).indices
    fits = torch.cumsum(sizes[order], 0) <= kept
    chosen = torch.zeros(len(flat), dtype=torch.bool)
    chosen[order[fits]] = True
    masks, position = {}, 0
    for name, (means, _) in grids.items():
        grid = chosen[position : position + means.numel()].reshape(means.shape)
        position += means.numel()
        shape = scores[name].shape
        rows, columns = _matrix_shape(shape)
        spread = grid.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
        masks[name] = spread[:rows, :columns].reshape(shape) & (scores[name] >= 0)
    return masks


def _block_means(score: torch.Tensor, block: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean of every block of a matrix and its number of entries."""
    rows, columns = _matrix_shape(score.shape)
    high, wide = (math.ceil(n / b) for n, b in zip((rows, columns), block, strict=True))
    padded = torch.zeros(2, high * block[0], wide * block[1], dtype=torch.float64)
    padded[0, :rows, :columns] = score.reshape(rows, columns)
    padded[1, :rows, :columns] = 1
    sums, sizes = padded.reshape(2, high, block[0], wide, block[1]).sum((2, 4))
    return sums / sizes, sizes


def _matrix_shape(shape: torch.Size) -> tuple[int, int]:
    return shape[0], math.prod(shape[1:])


def _draw_weights(graph: Graph, names: list[str], context: Context) -> None:
    """Set weights from a truncated normal of variance 1 / inputs, and biases to zero."""
    # Another seed than that of anything that the masks came from.
    generator = torch.Generator().manual_seed(context.seed + 1)
    for name in names:
        shape = graph.parameter(name).shape
        drawn = torch.zeros(shape)
        if len(shape) > 1:
            # Cut at two standard deviations, a normal has 0.8796 of them left.
            deviation = math.prod(shape[1:]) ** -0.5 / 0.87962566103423978
            torch.nn.init.trunc_normal_(
                drawn, 0, deviation, -2 * deviation, 2 * deviation, generator=generator
            )
        graph.set_parameter(name, drawn)


def _zeros(masks: dict[str, torch.Tensor]) -> float:
    total = sum(mask.numel() for mask in masks.values())
    return 1 - sum(int(mask.count_nonzero()) for mask in masks.values()) / max(1, total)


def _is_same(old: torch.Tensor | None, new: torch.Tensor) -> bool:
    return bool(new.all()) if old is None else torch.equal(old, new)


def _note(name: str, mask: torch.Tensor) -> Note:
    left = int(mask.count_nonzero())
    message = f"{left:,} of {mask.numel():,} values left"
    return Note(name, message, changed=left < mask.numel())


def _what_it_brings(masks: dict[str, torch.Tensor]) -> str:
    return (
        f"{_zeros(masks):.1%} of the weights are zero: smaller on disk, but kernels stay dense and "
        "no faster; condense removes channels of which nothing is left"
    )
