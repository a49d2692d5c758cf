"""``substitute-spatial-interpolation``: heavy paths on anchor pixels, cheap ones in between."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from hwopt import logs
from hwopt.errors import HwoptError
from hwopt.graph import Value
from hwopt.layers import AnchorMix
from hwopt.passes.base import Context, Note, Pass, PassResult
from hwopt.passes.insertion import insert_module, unique_prefix
from hwopt.passes.layers import is_chosen, notes_on_unknown
from hwopt.passes.residual_blocks import ResidualSum, module_of, residual_blocks

if TYPE_CHECKING:
    from hwopt.graph import Graph, Node


@dataclass(frozen=True)
class SubstituteSpatialInterpolation(Pass):
    """Let the layers of residual blocks compute every ``stride``-th pixel of rows and columns.

    What lies between these anchors becomes a learned mix of their interpolation and a depthwise 3x3
    convolution of the block's input (``hwopt.layers.AnchorMix``). Inverted residual blocks are
    residual blocks, too; those that change the shape stay. The network must be trained afterwards.
    Source: Kag 2023 (thesis), of which no text was at hand: our reading.

    Options:
        stride: the distance of anchors, in pixels.
        mode: ``lowres``: the layers read the input's pixels at anchors only. ``strided``: their
            first convolution computes anchors only, but reads what lies between them.
        layers: only blocks whose sum's name begins with one of these; all if empty.
        exclude: not those whose sum's name begins with one of these.

    Raises:
        HwoptError: if an option is out of range.

    >>> str(SubstituteSpatialInterpolation(mode="strided"))
    'substitute-spatial-interpolation{mode=strided}'
    """

    name = "substitute-spatial-interpolation"

    stride: int = 2
    mode: Literal["lowres", "strided"] = "lowres"
    layers: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride < 2:
            raise HwoptError(f"pass {self.name}: stride must be at least 2, not {self.stride}")

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with anchors in its residual blocks."""
        found = residual_blocks(graph)
        notes = notes_on_unknown((*self.layers, *self.exclude), [block.sum for block in found])
        if not found:
            notes.append(Note(graph.name, "there are no residual blocks", changed=False))
        result, inside = graph, dict[str, str]()
        about_blocks = []
        # What lies in a block comes before it, and is on anchors with it.
        for block in reversed(found):
            reason = self._obstacle(graph, block)
            changed = None
            if reason is None and block.sum in inside:
                reason = f"inside {inside[block.sum]}, which has anchors"
            elif reason is None:
                changed = self._substituted(result, block, context)
                reason = "its layers fix the size of the image"
                if changed is not None:
                    inside |= dict.fromkeys(block.path, block.sum)
                    reason = f"{len(block.path)} operators on one pixel of {self.stride**2}"
            about_blocks.append(Note(block.sum, reason, changed=changed is not None))
            result = changed or result
        notes += reversed(about_blocks)
        return PassResult(result, modified=result is not graph, notes=tuple(notes))

    def candidates(self, graph: Graph, context: Context) -> list[Pass]:
        """Return one instance for every block in which something is replaced."""
        blocks = [b for b in residual_blocks(graph) if self._obstacle(graph, b) is None]
        instances = [dataclasses.replace(self, layers=(block.sum,), exclude=()) for block in blocks]
        return [one for one in instances if one.apply(graph, context).modified]

    def _obstacle(self, graph: Graph, block: ResidualSum) -> str | None:
        """Return why a block stays as it is, or None."""
        if not is_chosen(block.sum, self.layers, self.exclude):
            return "not among those chosen"
        if not block.is_identity:
            return "its shortcut changes the shape"
        if any(graph.node(name).op == "interpolate_anchors" for name in block.path):
            return "it has anchors already"
        sizes = graph.spec(block.source).at()[2:]
        if max(sizes) <= self.stride:
            return (
                f"its image of {sizes[0]}x{sizes[1]} pixels is too small for stride={self.stride}"
            )
        first = [node for node in _readers(graph, block) if node.op != "conv2d"]
        if self.mode == "strided" and first:
            return f"it begins with {first[0].op}, which has no stride: mode=lowres"
        return None

    def _substituted(self, graph: Graph, block: ResidualSum, context: Context) -> Graph | None:
        """Return the graph with anchors in one block; None if its layers do not allow it."""
        result = graph.copy()
        shape = graph.spec(block.source).at()
        wanted = (*shape[:2], *(-(-size // self.stride) for size in shape[2:]))
        # Until there is what fills in the pixels, the sum can take the source only.
        _read(result, result.node(block.sum), block.result, block.source)
        if self.mode == "strided":
            for node in _readers(result, block):
                strides = tuple(self.stride * stride for stride in node.attributes["stride"])
                result.replace_node(node.with_attributes(stride=strides))
        else:
            self._sample(result, block)
        try:
            with logs.at_least("torch", logging.CRITICAL):  # the note says what went wrong
                result.infer_shapes()
        except HwoptError:
            return None
        if result.spec(block.result).at() != wanted:
            return None
        make = partial(AnchorMix, shape[1], self.stride)
        name = unique_prefix(result, f"{module_of([block])}between")
        (between,) = insert_module(
            result, name, make, block.source, block.result, seed=context.seed
        )
        total = graph.node(block.sum)
        result.replace_node(total)
        _read(result, total, block.result, between)
        return result

    def _sample(self, graph: Graph, block: ResidualSum) -> None:
        """Let the layers read every ``stride``-th pixel, in place."""
        sampled = block.source
        for dim, what in ((2, "rows"), (3, "columns")):
            name = graph.unique_name(f"{module_of([block])}{what}")
            attributes = {"dim": dim, "start": 0, "end": 2**63 - 1, "step": self.stride}
            sampled = graph.add_node(name, "slice", {"self": sampled}, attributes)
        for node in _readers(graph, block):
            _read(graph, node, block.source, sampled)


def _read(graph: Graph, node: Node, old: Value, new: Value) -> None:
    """Let a node read another value, in place."""
    graph.replace_node(node.mapped(lambda operand: new if operand == old else operand))


def _readers(graph: Graph, block: ResidualSum) -> list[Node]:
    """Return the nodes of a block's path that read its source."""
    nodes = [graph.node(name) for name in block.path]
    return [node for node in nodes if block.source in (value for _, value in node.values())]
