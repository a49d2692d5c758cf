"""``substitute-global-layer``: one Global layer in the place of a stage's repeated blocks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from hwopt.errors import HwoptError
from hwopt.graph import Value
from hwopt.graph.cleanup import remove_unused
from hwopt.layers import GlobalLayer
from hwopt.layers.global_layer import check
from hwopt.passes.base import Context, Note, Pass, PassResult
from hwopt.passes.dense_stages import DenseStage, dense_stages
from hwopt.passes.insertion import insert_module, unique_prefix
from hwopt.passes.layers import is_chosen, notes_on_unknown
from hwopt.passes.residual_blocks import (
    LAYERS,
    ResidualSum,
    module_of,
    operators,
    residual_blocks,
    stages,
)

if TYPE_CHECKING:
    from hwopt.graph import Graph


@dataclass(frozen=True)
class SubstituteGlobalLayer(Pass):
    """Keep the first block of every stage and put one Global layer in the place of the others.

    A stage is a run of residual blocks, inverted ones too, that keep the shape; a block of the same
    kind before it, which makes that shape, is its first. The Global layer moves and spreads the
    features over the image (``hwopt.layers.GlobalLayer``) before the last block's activation. In a
    stage of dense layers as many stay as have the channels of the others, which the Global layer
    makes of the last channels before it (our reading; the authors keep half of them). The network
    must be trained afterwards. Source: Kag and Saligrama 2022.

    Options:
        keep: blocks or dense layers of every stage that stay, at least; the others are replaced.
        start: where the Global layer begins: at its input (``identity``), or at what the first of
            the replaced blocks, which then stays, makes of it (``block``; not in dense stages).
        steps: of time.
        diffusivity: ``learned``, or ``constant``: 1.
        time_step: of the equation.
        spacing: the distance of neighbours, in pixels.
        layers: only blocks whose sum's name, and stages of dense layers whose last concat's name,
            begins with one of these; all if empty.
        exclude: not those whose name begins with one of these.

    Raises:
        HwoptError: if an option is out of range.

    >>> str(SubstituteGlobalLayer(start="block", diffusivity="constant"))
    'substitute-global-layer{start=block,diffusivity=constant}'
    """

    name = "substitute-global-layer"

    keep: int = 1
    start: Literal["identity", "block"] = "identity"
    steps: int = 1
    diffusivity: Literal["learned", "constant"] = "learned"
    time_step: float = 0.2
    spacing: int = 1
    layers: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.steps, None, self.time_step, self.spacing)
        if self.keep < 0:
            raise HwoptError(f"pass {self.name}: keep must be at least 0, not {self.keep}")

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with Global layers."""
        runs, notes = self._choose(graph)
        dense, more = self._choose_dense(graph)
        if not runs and not dense:
            return PassResult(graph, modified=False, notes=(*notes, *more))
        result = graph.copy()
        notes += more + [self._replace(result, blocks, context) for blocks in runs]
        notes += [self._replace_dense(result, stage, kept, context) for stage, kept in dense]
        remove_unused(result)
        result.infer_shapes()
        return PassResult(result, modified=True, notes=tuple(notes))

    def candidates(self, graph: Graph, context: Context) -> list[Pass]:
        """Return one instance for every stage in which something is replaced."""
        names = [tuple(block.sum for block in run) for run in self._choose(graph)[0]]
        names += [(stage.end,) for stage, _ in self._choose_dense(graph)[0]]
        return [dataclasses.replace(self, layers=chosen, exclude=()) for chosen in names]

    def _choose(self, graph: Graph) -> tuple[list[list[ResidualSum]], list[Note]]:
        """Return the blocks to replace by one layer each, and why others stay."""
        found = residual_blocks(graph)
        ends = [stage.end for stage in dense_stages(graph)]
        known = [*(block.sum for block in found), *ends]
        notes = notes_on_unknown((*self.layers, *self.exclude), known)
        if not known:
            reason = "there are no residual blocks and no dense layers"
            notes.append(Note(graph.name, reason, changed=False))
        chosen = []
        for block in found:
            if not block.is_identity:
                notes.append(Note(block.sum, "its shortcut changes the shape", changed=False))
            elif not is_chosen(block.sum, self.layers, self.exclude):
                notes.append(Note(block.sum, "not among those chosen", changed=False))
            else:
                chosen.append(block)
        runs: list[list[ResidualSum]] = []
        inside: dict[str, str] = {}
        # What lies in a block comes before it, and goes with it.
        by_end = sorted(stages(graph, chosen), key=lambda run: chosen.index(run[-1]))
        for run in reversed(by_end):
            around = inside.get(run[0].sum)
            if around is not None:
                reason = f"inside {around}, which is replaced"
                notes += [Note(block.sum, reason, changed=False) for block in run]
                continue
            stay = max(0, self.keep - _likes_before(graph, found, run[0]))
            reason = f"among the first of its stage: keep={self.keep}"
            notes += [Note(block.sum, reason, changed=False) for block in run[:stay]]
            rest = run[stay:]
            if self.start == "block" and len(rest) == 1:
                reason = "nothing repeats it: it would stay as the start"
                notes.append(Note(rest[0].sum, reason, changed=False))
            elif rest:
                runs.insert(0, rest)
                for block in rest[1:] if self.start == "block" else rest:
                    inside |= dict.fromkeys(block.path, block.sum)
        return runs, notes

    def _choose_dense(self, graph: Graph) -> tuple[list[tuple[DenseStage, int]], list[Note]]:
        """Return the dense stages with the layers that stay, and why others are left alone."""
        chosen, notes = [], []
        for stage in dense_stages(graph):
            channels = [_channels(graph, value) for value in stage.features]
            before = [_channels(graph, value) for value in stage.read]
            enough = [k for k in range(1, len(before)) if before[k] >= sum(channels[k:])]
            kept = max(self.keep, min(enough, default=len(before)))
            if not is_chosen(stage.end, self.layers, self.exclude):
                notes.append(Note(stage.end, "not among those chosen", changed=False))
            elif kept >= len(before):
                notes.append(Note(stage.end, "too few dense layers to keep some", changed=False))
            else:
                chosen.append((stage, kept))
        return chosen, notes

    def _replace_dense(self, graph: Graph, stage: DenseStage, kept: int, context: Context) -> Note:
        """Let a Global layer make the features of the last layers of a stage, in place."""
        source, gone = stage.read[kept], stage.features[kept:]
        needed = sum(_channels(graph, value) for value in gone)
        end = _channels(graph, source)
        name = unique_prefix(graph, f"{stage.end}.global_layer")
        attributes = {"dim": 1, "start": end - needed, "end": end}
        sliced = graph.add_node(f"{name}.source", "slice", {"self": source}, attributes)
        graph.infer_shapes()
        make = partial(self._layer, needed)
        (made,) = insert_module(graph, name, make, sliced, seed=context.seed)
        concat = graph.node(stage.end)
        graph.replace_node(concat.replace(operands={"tensors": (source, made)}))
        return Note(name, f"in the place of {', '.join(map(str, gone))}", changed=True)

    def _layer(self, channels: int) -> GlobalLayer:
        """Return a Global layer with random weights."""
        return GlobalLayer(
            channels,
            self.steps,
            diffusivity=None if self.diffusivity == "learned" else 1.0,
            time_step=self.time_step,
            spacing=self.spacing,
            activation=False,
        )

    def _replace(self, graph: Graph, blocks: list[ResidualSum], context: Context) -> Note:
        """Put a Global layer in the place of the blocks, in place."""
        source, last = blocks[0].source, blocks[-1]
        make = partial(self._layer, _channels(graph, source))
        name = unique_prefix(graph, f"{module_of(blocks)}global_layer")
        starts = [blocks[0].end] if self.start == "block" else []
        (end,) = insert_module(graph, name, make, source, *starts, seed=context.seed)
        graph.replace_uses(Value(last.sum), end)
        gone = blocks[1:] if self.start == "block" else blocks
        return Note(name, f"in the place of {', '.join(block.sum for block in gone)}", changed=True)


def _channels(graph: Graph, value: Value) -> int:
    return graph.spec(value).at()[1]


def _likes_before(graph: Graph, found: list[ResidualSum], block: ResidualSum) -> int:
    """Return how many blocks of the same kind a block follows.

    Those have another shortcut, or, the first of a stage of inverted residual blocks, none.
    """
    kind = operators(graph, block.path)
    by_end = {other.end: other for other in found}
    count = 0
    while block.source in by_end and operators(graph, by_end[block.source].path) == kind:
        block = by_end[block.source]
        count += 1
        if not block.is_identity:
            return count
    return count + _follows_operators(graph, block.source, kind)


def _follows_operators(graph: Graph, value: Value, kind: list[str]) -> bool:
    """Return whether a value is of a block's operators, nothing of which is read elsewhere.

    One layer alone, such as a network's first, is no block.
    """
    nodes = graph.nodes()
    end = next((place for place, node in enumerate(nodes, 1) if node.name == value.node), 0)
    run = nodes[max(0, end - len(kind)) : end]
    names = {node.name for node in run}
    return (
        sum(op in LAYERS for op in kind) > 1
        and [node.op for node in run] == kind
        and all(user.name in names for node in run[:-1] for user in graph.users(node.name))
    )
