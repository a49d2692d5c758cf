"""``binarize``: layers that multiply signs, with what training them needs around."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hwopt.errors import HwoptError
from hwopt.graph import Node
from hwopt.passes.base import Context, Note, Pass, PassResult
from hwopt.passes.binary_layers import BinarizedLayer, is_behind, non_negative, to_prelu
from hwopt.passes.layers import BINARY, is_chosen, notes_on_unknown

if TYPE_CHECKING:
    from hwopt.graph import Graph


@dataclass(frozen=True)
class Binarize(Pass):
    """Let convolutions and linear layers read signs, and prepare the network for training so.

    A chosen layer becomes: a shift of every input channel, the binary layer, a scale of every
    output channel, its bias if it has one, a batch norm if none follows, and a shortcut around all
    of it where the shape stays the same. A ReLU before or behind, poolings and the like between
    them, becomes a shift, a PReLU and a shift: after a ReLU all signs are +1. Source: the network
    of Paren et al. 2022 (BNEW), as in ReActNet (Liu et al. 2020).

    The weights stay real, each output channel divided by its largest, which goes into the scale.
    Train with ``hwopt.train.BinaryPull`` (or ``StraightThrough``, ...), then
    ``freeze-binary``; only then the layers are compiled to kernels that count bits. The input's
    signs lose so much that the network has to be trained anyhow.

    Options:
        layers: only layers whose name begins with one of these; all if empty.
        exclude: not those whose name begins with one of these.
        keep_first, keep_last: leave the first or the last layer of the network as it is.
        keep_pointwise: leave 1x1 convolutions as they are: shortcuts, mostly.
        smallest: leave layers with less input features to a sum than this: of few, bits save
            little.
        min_gain: leave layers by which, alone, the measured latency falls by less than this share;
            0 measures nothing.
        shortcuts: put a shortcut around binary layers that keep the shape.
        activation: ``prelu``, or ``keep`` every ReLU.

    Raises:
        HwoptError: if an option is out of range.

    >>> str(Binarize(keep_last=False))
    'binarize{keep_last=false}'
    """

    name = "binarize"

    layers: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    keep_first: bool = True
    keep_last: bool = True
    keep_pointwise: bool = True
    smallest: int = 32
    min_gain: float = 0.0
    shortcuts: bool = True
    activation: Literal["prelu", "keep"] = "prelu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.smallest < 1:
            raise HwoptError(f"pass {self.name}: smallest must be at least 1, not {self.smallest}")
        if not 0 <= self.min_gain < 1:
            raise HwoptError(f"pass {self.name}: min_gain must be in [0, 1), not {self.min_gain}")

    @property
    def needs_latency(self) -> bool:
        """Whether gains are to be measured."""
        return self.min_gain > 0

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with binary layers."""
        layers = [n for n in graph.nodes() if n.op in BINARY or n.op in BINARY.values()]
        candidates = [node for node in layers if node.op in BINARY]
        notes = notes_on_unknown((*self.layers, *self.exclude), [n.name for n in candidates])
        chosen = []
        for node in candidates:
            reason = self._obstacle(graph, node, layers)
            if reason is None:
                chosen.append(node)
            else:
                notes.append(Note(node.name, reason, changed=False))
        if self.min_gain > 0 and chosen:
            chosen, slow = self._worth_it(graph, chosen, context)
            notes += slow
        if not chosen:
            return PassResult(graph, modified=False, notes=tuple(notes))
        result, more = self._binarized(graph, chosen)
        return PassResult(result, modified=True, notes=(*notes, *more))

    def candidates(self, graph: Graph, context: Context) -> list[Pass]:
        """Return this pass without measuring, if it changes something."""
        instance = dataclasses.replace(self, min_gain=0.0)
        return [instance] if instance.apply(graph, context).modified else []

    def _obstacle(self, graph: Graph, node: Node, all_layers: list[Node]) -> str | None:
        """Return why a layer stays as it is, or None."""
        if not is_chosen(node.name, self.layers, self.exclude):
            return "not among those chosen"
        weight = node.parameter("weight")
        if weight is None or not graph.is_trainable(weight):
            return "its weight is computed or fixed"
        if len(graph.parameter_users(weight)) > 1:
            return "its weight is shared"
        if weight in graph.masks or weight in graph.codebooks:
            return "its weight has a mask or a codebook, which signs have not"
        if node is all_layers[0] and self.keep_first:
            return "the first layer: keep_first"
        if node is all_layers[-1] and self.keep_last:
            return "the last layer: keep_last"
        if node.attributes.get("groups", 1) != 1:
            return "grouped: its sums are too short for bits"
        shape = graph.parameter(weight).shape
        if node.op == "conv2d" and tuple(shape[2:]) == (1, 1) and self.keep_pointwise:
            return "a 1x1 convolution: keep_pointwise"
        if shape[1:].numel() < self.smallest:
            return f"only {shape[1:].numel()} products a sum: smallest={self.smallest}"
        if node.op == "linear" and len(node.output.shape) != 2:
            return "a linear layer on more than one vector a sample"
        return None

    def _worth_it(
        self, graph: Graph, chosen: list[Node], context: Context
    ) -> tuple[list[Node], list[Note]]:
        """Measure every layer alone; return those worth it, and notes on the others."""
        from hwopt.passes.freeze_binary import FreezeBinary

        assert context.latency is not None
        variants = [
            FreezeBinary().apply(self._binarized(graph, [node])[0], context).graph
            for node in chosen
        ]
        dense, *latencies = context.latency([graph, *variants])
        gains = [1 - latency / dense for latency in latencies]
        found = list(zip(chosen, gains, strict=True))
        notes = [
            Note(node.name, f"alone it saves {gain:.1%} of the latency: min_gain", changed=False)
            for node, gain in found
            if gain < self.min_gain
        ]
        return [node for node, gain in found if gain >= self.min_gain], notes

    def _binarized(self, graph: Graph, chosen: list[Node]) -> tuple[Graph, list[Note]]:
        result = graph.copy()
        notes, ends = [], set()
        for node in chosen:
            layer = BinarizedLayer(result, node.name)
            layer.binarize()
            extra = layer.norm() + (layer.shortcut() if self.shortcuts else [])
            ends.add(layer.end.node)
            notes.append(Note(node.name, ", ".join(["binary", *extra]), changed=True))
        if self.activation == "prelu":
            before = {
                value.node
                for node in chosen
                for value in non_negative(result, result.node(node.name).input)
            }
            notes += [
                Note(relu.name, "a PReLU with shifts", changed=True)
                for relu in result.nodes("relu")
                if (relu.name in before or is_behind(result, relu, ends)) and to_prelu(result, relu)
            ]
        for node in chosen:
            for value in non_negative(result, result.node(node.name).input):
                message = f"never negative: all signs that {node.name} reads begin as +1"
                notes.append(Note(value.node, message, changed=False))
        result.infer_shapes()
        return result, notes
