"""``route``: easy inputs are answered by a small network, a large one is asked about the others."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import networkx
from torch import Tensor, nn

from hwopt.errors import HwoptError
from hwopt.graph import Graph, Node, Value
from hwopt.graph.storage import GRAPH_FILE
from hwopt.layers import Doubt, Entropy, Router
from hwopt.passes.base import Context, Note, Pass, PassResult
from hwopt.passes.insertion import insert_graph, insert_module

EXPERT, EXIT, ROUTER, ASKS, ANSWER = "expert", "exit", "router", "route.asks", "route.answer"
"""Names of what the pass adds, or what they begin with."""


@dataclass(frozen=True)
class Route(Pass):
    """Answer easy inputs with a small network, and ask a large one, the expert, about the others.

    A router gives every input a score; where it is above the threshold the expert answers, and only
    there does an artefact run it. With ``expert`` the network itself is the small one. Without it
    the network is the large one, and gets an exit at ``cut``: a mean over the image, or over tokens
    (N, tokens, features), and a linear layer. What is new must be trained
    (``hwopt.routing.hybrid``), and the threshold be chosen on images that were not trained on
    (``hwopt.routing.routes``).
    Source: Kag et al. 2023 (Efficient edge inference by selective query).

    Options:
        expert: the folder of a saved graph, or of an artefact.
        cut: the node whose result the expert reads in the place of the input; or, without an
            expert, behind which the exit stands.
        router: ``learned`` (``hwopt.layers.Router``), the ``entropy`` of the small network's
            answer, or ``doubt``, one minus its largest probability.
        width: of the learned router's layers.
        threshold: above which the expert is asked.

    >>> str(Route(cut="stages.1", router="entropy", threshold=0.5))
    'route{cut=stages.1,router=entropy,threshold=0.5}'
    """

    name = "route"

    expert: str = ""
    cut: str = ""
    router: Literal["learned", "entropy", "doubt"] = "learned"
    width: int = 48
    threshold: float = 0.0

    @property
    def files(self) -> tuple[Path, ...]:
        """The expert's graph, which has the hash of its weights."""
        return (Path(self.expert) / GRAPH_FILE,) if self.expert else ()

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with a router."""
        if ANSWER in graph:
            raise HwoptError(f"{graph.name} is routed already")
        if self.expert:
            return self.joined(graph, Graph.load(Path(self.expert)), context)
        if not self.cut:
            raise HwoptError(
                f"pass {self.name}: give an expert, the folder of a saved graph, or a cut, such as "
                f"{', '.join(cut_points(graph)) or 'a node'}"
            )
        _check_names(graph)
        result = graph.copy()
        large = _answer(graph)
        features, classes = Value(result.node(self.cut).name), graph.spec(large).at()[1]
        shape = graph.spec(features).at()
        if len(shape) not in (2, 3, 4):
            raise HwoptError(
                f"pass {self.name}: an exit reads images, tokens or features, not the "
                f"{graph.spec(features)} of {self.cut}"
            )
        (small,) = insert_module(
            result, EXIT, lambda: _exit(shape, classes), features, seed=context.seed
        )
        return self._routed(result, small, large, context, [Note(EXIT, f"behind {self.cut}", True)])

    def joined(self, graph: Graph, expert: Graph, context: Context) -> PassResult:
        """Return the graph that asks an expert, another graph with its weights.

        Raises:
            HwoptError: if the expert reads or returns something else than the graph.
        """
        _check_names(graph)
        result = graph.copy()
        small = _answer(graph)
        read = Value(graph.node(self.cut).name) if self.cut else _input(graph)
        large = _answer(expert)
        for what, here, there in (
            ("reads", graph.spec(read), expert.spec(_input(expert))),
            ("returns", graph.spec(small), expert.spec(large)),
        ):
            if here != there:
                raise HwoptError(
                    f"pass {self.name}: the expert {what} {there}, {graph.name} has {here}"
                )
        (large,) = insert_graph(result, EXPERT, expert, read)
        note = Note(EXPERT, f"{expert.name} reads {read}", changed=True)
        return self._routed(result, small, large, context, [note])

    def candidates(self, graph: Graph, context: Context) -> list[Pass]:
        """Return one instance for every cut point; with an expert, itself."""
        if self.expert:
            return [self]
        return [dataclasses.replace(self, cut=name) for name in cut_points(graph)]

    def _routed(
        self, graph: Graph, small: Value, large: Value, context: Context, notes: list[Note]
    ) -> PassResult:
        """Add the router and the choice to a graph in place."""
        (output,) = graph.outputs
        score = self._score(graph, small, context)
        asks = graph.add_node(ASKS, "gt", {"self": score}, {"other": self.threshold})
        operands = {"predicate": asks, "then": large, "otherwise": small}
        graph.outputs = {output: graph.add_node(ANSWER, "cond", operands)}
        graph.infer_shapes()
        notes.append(Note(ROUTER, f"{self.router}, above {self.threshold:g}", changed=True))
        return PassResult(graph, modified=True, notes=tuple(notes))

    def _score(self, graph: Graph, small: Value, context: Context) -> Value:
        if self.router != "learned":
            make = {"entropy": Entropy, "doubt": Doubt}[self.router]
            (score,) = insert_module(graph, ROUTER, make, small, seed=context.seed)
            return score
        features = _last_layer(graph, small).input
        classes, read = graph.spec(small).at()[1], graph.spec(features).elements()
        (score,) = insert_module(
            graph,
            ROUTER,
            lambda: Router(classes, read, width=self.width),
            small,
            features,
            seed=context.seed,
        )
        return score


def cut_points(graph: Graph) -> list[str]:
    """Return the nodes through whose result all goes, the first one first.

    They are read by a layer, but not by the last one.

    >>> import hwopt, torch
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2))
    >>> cut_points(hwopt.import_model(model, torch.zeros(1, 4)))
    ['1']
    """
    network = graph.to_networkx()
    source, end = _input(graph).node, _answer(graph).node
    before = networkx.immediate_dominators(network, source)
    last = _last_layer(graph, _answer(graph)).name
    found, name = [], before.get(end, source)
    while name != source:
        layers = [user.name for user in graph.users(name) if user.op in ("conv2d", "linear")]
        if layers and last not in layers:
            found.append(name)
        name = before[name]
    return found[::-1]


class _MeanOfTokens(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1)


def _exit(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a mean over the image, or over tokens, and a linear layer."""
    if len(shape) == 4:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(shape[1], classes))
    tokens = [_MeanOfTokens()] if len(shape) == 3 else []
    return nn.Sequential(*tokens, nn.Linear(shape[-1], classes))


def _check_names(graph: Graph) -> None:
    """Refuse a graph of which a part already has a name that the pass gives."""
    taken = {node.name.partition(".")[0] for node in graph.nodes()} | {*graph.inputs}
    for name in (EXPERT, EXIT, ROUTER):
        if name in taken:
            raise HwoptError(
                f"{graph.name} has a part {name!r}, a name that the pass route gives: rename it in "
                "the model"
            )


def _input(graph: Graph) -> Value:
    if len(graph.inputs) != 1:
        raise HwoptError(f"only a network with one input is routed; {graph.name} has more")
    (name,) = graph.inputs
    return Value(name)


def _answer(graph: Graph) -> Value:
    """Return the only output: logits."""
    found = list(graph.outputs.values())
    if len(found) != 1 or not isinstance(found[0], Value) or len(graph.spec(found[0]).shape) != 2:
        raise HwoptError(
            f"only a network with one output, logits (N, classes), is routed; {graph.name} returns "
            + ", ".join(str(graph.spec(operand)) for operand in found)
        )
    return found[0]


def _last_layer(graph: Graph, value: Value) -> Node:
    """Return the layer that makes a value, or what a chain of operators makes it of."""
    node = graph.producer(value)
    while node.op not in ("linear", "conv2d"):
        read = [operand for _, operand in node.values()]
        if len(read) != 1:
            raise HwoptError(
                f"no single layer makes the answer of {graph.name}: choose router=entropy or doubt"
            )
        node = graph.producer(read[0])
    return node
