"""What ``route`` made of a graph: who answers, the score, and the threshold."""

from __future__ import annotations

from dataclasses import dataclass

import networkx

from hwopt.errors import HwoptError
from hwopt.graph import Graph, Value
from hwopt.graph.cleanup import remove_unused
from hwopt.passes.route import ANSWER, ASKS


@dataclass(frozen=True)
class RoutedValues:
    """The values of a routed graph.

    Attributes:
        small, large: the two answers, logits (N, classes).
        score: of the router, (N,); above the threshold the large network answers.
        threshold: on the score.
    """

    small: Value
    large: Value
    score: Value
    threshold: float

    @classmethod
    def of(cls, graph: Graph) -> RoutedValues:
        """Find them.

        Raises:
            HwoptError: if the graph is not routed.
        """
        if not is_routed(graph):
            raise HwoptError(f"{graph.name} has no router: apply the pass route first")
        answer, asks = graph.node(ANSWER), graph.node(ASKS)
        large, small = (answer.operands[side] for side in ("then", "otherwise"))
        assert isinstance(large, Value) and isinstance(small, Value)
        return cls(small, large, asks.input, float(asks.attributes["other"]))


def is_routed(graph: Graph) -> bool:
    """Return whether the pass ``route`` was applied to a graph."""
    return ANSWER in graph


def with_threshold(graph: Graph, threshold: float) -> Graph:
    """Return a routed graph with another threshold."""
    RoutedValues.of(graph)
    result = graph.copy()
    result.replace_node(result.node(ASKS).with_attributes(other=float(threshold)))
    return result


def with_parts(graph: Graph) -> Graph:
    """Return a routed graph that returns the small answer, the large one and the score."""
    routing = RoutedValues.of(graph)
    result = graph.copy()
    result.outputs = {"small": routing.small, "large": routing.large, "score": routing.score}
    return result


def split(graph: Graph) -> tuple[Graph, Graph]:
    """Return the two halves of a routed graph, for two machines.

    The first one returns the small answer ``small``, which rows are hard (``asks``, bool (N,)) and
    what the second one needs of it, by the names of the nodes; nothing, if the expert reads the
    input. The second one takes this, in the order of its inputs, and returns the large answer.

    Raises:
        HwoptError: if the graph is not routed.

    >>> import hwopt, torch
    >>> layers = [torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8)]
    >>> model = torch.nn.Sequential(*layers, torch.nn.Linear(8, 3))
    >>> graph = hwopt.import_model(model, torch.zeros(1, 4))
    >>> here, there = split(hwopt.apply(graph, "route{cut=1,router=entropy}"))
    >>> list(here.outputs), list(there.inputs)
    (['small', 'asks', '1'], ['1'])
    """
    routing = RoutedValues.of(graph)
    network = graph.to_networkx()
    here: set[str] = {*graph.inputs}
    for value in (routing.small, Value(ASKS)):
        here |= {value.node, *networkx.ancestors(network, value.node)}
    there = {routing.large.node, *networkx.ancestors(network, routing.large.node)} - here
    nodes = [node for node in graph.nodes() if node.name in there]
    handed = dict.fromkeys(v for node in nodes for _, v in node.values() if v.node in here)
    names = {v: v.node if v.output == 0 else f"{v.node}.{v.output}" for v in handed}

    first = graph.copy()
    first.outputs = {"small": routing.small, "asks": Value(ASKS)}
    first.outputs |= {names[v]: v for v in handed if v.node not in graph.inputs}
    remove_unused(first)

    second = Graph(f"{graph.name}_expert")
    second.history = graph.history
    for value in handed:
        second.add_input(names[value], graph.spec(value))
    for name in dict.fromkeys(name for node in nodes for _, name in node.parameters()):
        kind = {"trainable": not graph.is_buffer(name), "frozen": graph.is_frozen(name)}
        second.set_parameter(name, graph.parameter(name), **kind, mask=graph.masks.get(name))
        second.set_codebook(name, name in graph.codebooks)
    for node in nodes:
        moved = node.mapped(lambda operand: Value(names[operand]) if operand in names else operand)
        second.add_node(node.name, node.op, moved.operands, node.attributes)
    second.outputs = {"output": routing.large}
    second.infer_shapes()
    return first, second
