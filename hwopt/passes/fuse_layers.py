"""``fuse-layers``: let layers that are alike share one weight."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from networkx.utils import UnionFind

from hwopt.graph import Node, Parameter
from hwopt.graph.cleanup import remove_unused
from hwopt.passes.base import Context, Note, Pass, PassResult, Spread
from hwopt.passes.layers import OUTPUT_AXIS, check_share, is_chosen
from hwopt.passes.similarity import MEASURES, Similarity

if TYPE_CHECKING:
    from hwopt.graph import Graph


@dataclass(frozen=True)
class FuseLayers(Pass):
    """Let the most similar layers of one shape refer to one weight (dynamic weight sharing).

    Pairs are taken greedily, the most similar first, and pairs that meet become one set. Layers
    still run one by one: the network is smaller on disk and in memory, and no faster. Batch norms
    stay with their layers. Source: O'Neill et al. 2020 (layer fusion); similarities lie in [0, 1]
    and the order of the pairs is our reading.

    Options:
        ratio: the share of the layers that then have no weight of their own, in [0, 1); layers that
            share already count. Of the layers that have an equal at all, that is: same operator,
            same shapes.
        similarity: ``cosine``, ``euclidean``, ``covariance``, ``cka`` or ``wasserstein``.
        fusion: the shared weight is the ``mean``, a ``mix`` that takes every entry from one of the
            layers by chance, or that of one layer, drawn by chance (``freeze``).
        rescale: give a mean the mean norm of its layers; that of unlike weights is smaller.
        ends: the first and the last layer of the network may be fused, too.
        layers: only layers whose name begins with one of these; all if empty.

    Raises:
        HwoptError: if the ratio is out of range.

    >>> str(FuseLayers(ratio=0.3, fusion="mix"))
    'fuse-layers{ratio=0.3,fusion=mix}'
    """

    name = "fuse-layers"
    ratio: float = 0.5
    similarity: Similarity = "cosine"
    fusion: Literal["mean", "mix", "freeze"] = "mean"
    rescale: bool = True
    ends: bool = False
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(f"pass {self.name}: ratio", self.ratio)

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph in which similar layers share their weights."""
        kinds = list(self._kinds(graph))
        layers = sum(len(nodes) for nodes in kinds)
        own = sum(len(_weights(nodes)) for nodes in kinds)
        wanted = round(self.ratio * layers) - (layers - own)
        sets = self._similar_sets(graph, kinds, wanted)
        if not sets:
            reason = (
                "no two layers are alike in operator and shape"
                if not kinds
                else (f"{layers - own} of {layers} layers share already: ratio asks for no more")
            )
            return PassResult(graph, False, (Note("all layers", reason, changed=False),))
        result, notes = graph.copy(), []
        generator = context.generator()
        for names in sets:
            message = "share one weight"
            masked = sum(name in graph.masks for name in names)
            if 0 < masked < len(names):
                message += f", without a mask: {len(names) - masked} of them had none"
            _share(result, names, lambda ts: self._fused(ts, generator))
            notes.append(Note(" + ".join(names), message, changed=True))
        remove_unused(result)
        return PassResult(result, modified=True, notes=tuple(notes))

    def in_rounds(self, spread: Spread) -> list[Pass]:
        """Return this pass with the ratio of every round, of the layers of the whole network."""
        return [dataclasses.replace(self, ratio=ratio) for ratio in spread(self.ratio)]

    def candidates(self, graph: Graph, context: Context) -> list[Pass]:
        """Return this pass with the ratios 0.1, 0.2, 0.3, 0.5 and 0.7 that fuse something."""
        instances = [dataclasses.replace(self, ratio=r) for r in (0.1, 0.2, 0.3, 0.5, 0.7)]
        return [one for one in instances if one.apply(graph, context).modified]

    def _kinds(self, graph: Graph) -> Iterator[list[Node]]:
        """Yield the layers that are alike in operator, shape of the weight, and having a bias."""
        nodes = [node for node in graph.nodes() if node.op in OUTPUT_AXIS]
        if not self.ends:
            nodes = nodes[1:-1]
        kinds: dict[tuple[Any, ...], list[Node]] = {}
        for node in nodes:
            weight, bias = node.parameter("weight"), node.parameter("bias")
            if weight is not None and is_chosen(node.name, self.layers):
                key = (node.op, graph.parameter(weight).shape, bias is None)
                kinds.setdefault(key, []).append(node)
        yield from (nodes for nodes in kinds.values() if len(nodes) > 1)

    def _similar_sets(self, graph: Graph, kinds: list[list[Node]], wanted: int) -> list[list[str]]:
        """Return sets of weights to share: as few pairs as leave out ``wanted`` weights."""
        measure = MEASURES[self.similarity]
        pairs = [
            (measure(graph.parameter(first), graph.parameter(second)), first, second)
            for nodes in kinds
            for first, second in itertools.combinations(_weights(nodes), 2)
        ]
        united = UnionFind(name for _, *pair in pairs for name in pair)
        for _, first, second in sorted(pairs, key=lambda pair: -pair[0]):
            if wanted > 0 and united[first] != united[second]:
                united.union(first, second)
                wanted -= 1
        order = [name for nodes in kinds for name in _weights(nodes)]
        sets = (sorted(names, key=order.index) for names in united.to_sets())
        return sorted((names for names in sets if len(names) > 1), key=lambda n: order.index(n[0]))

    def _fused(self, tensors: list[torch.Tensor], generator: torch.Generator) -> torch.Tensor:
        stacked = torch.stack(tensors)
        if self.fusion == "freeze":
            return tensors[int(torch.randint(len(tensors), (1,), generator=generator))]
        if self.fusion == "mix":
            chosen = torch.randint(len(tensors), stacked.shape[1:], generator=generator)
            return stacked.gather(0, chosen[None])[0]
        mean = stacked.mean(0)
        norms = torch.stack([tensor.norm() for tensor in tensors])
        if not self.rescale or tensors[0].dim() < 2 or mean.norm() == 0:
            return mean
        return mean * (norms.mean() / mean.norm())


def _weights(nodes: list[Node]) -> list[str]:
    """Return the weights of layers, each once."""
    names = (node.parameter("weight") for node in nodes)
    return list(dict.fromkeys(name for name in names if name is not None))


def _share(graph: Graph, names: list[str], fused: Any) -> None:
    """Let whatever reads one of these weights read the first, and its layers one bias."""
    readers = [(node, role) for name in names for node, role in graph.parameter_users(name)]
    layers = [node for node, role in readers if node.op in OUTPUT_AXIS and role == "weight"]
    biases = [node.parameter("bias") for node in layers]
    for shared in (names, list(dict.fromkeys(name for name in biases if name is not None))):
        if not shared:
            continue
        masks = [graph.masks.get(name) for name in shared]
        tensor = fused([graph.parameter(name) for name in shared])
        mask = None if any(m is None for m in masks) else torch.stack(masks).any(0)  # type: ignore
        graph.set_mask(shared[0], None)
        graph.set_parameter(shared[0], tensor, mask=mask)
        for name in shared[1:]:
            graph.replace_uses(Parameter(name), Parameter(shared[0]))
