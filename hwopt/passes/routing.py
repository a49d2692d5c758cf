"""What ``route`` made of a graph: who answers, the score, and the threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwopt.errors import HwoptError
from hwopt.graph import Value
from hwopt.passes.route import ANSWER, ASKS

if TYPE_CHECKING:
    from hwopt.graph import Graph


@dataclass(frozen=True)
class Routing:
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
    def of(cls, graph: Graph) -> Routing:
        """Find them.

        Raises:
            HwoptError: if the graph is not routed.
        """
        if ANSWER not in graph:
            raise HwoptError(f"{graph.name} has no router: apply the pass route first")
        answer, asks = graph.node(ANSWER), graph.node(ASKS)
        large, small = (answer.operands[side] for side in ("then", "otherwise"))
        assert isinstance(large, Value) and isinstance(small, Value)
        return cls(small, large, asks.input, float(asks.attributes["other"]))


def with_threshold(graph: Graph, threshold: float) -> Graph:
    """Return a routed graph with another threshold."""
    Routing.of(graph)
    result = graph.copy()
    result.replace_node(result.node(ASKS).with_attributes(other=float(threshold)))
    return result


def with_parts(graph: Graph) -> Graph:
    """Return a routed graph that returns the small answer, the large one and the score."""
    routing = Routing.of(graph)
    result = graph.copy()
    result.outputs = {"small": routing.small, "large": routing.large, "score": routing.score}
    return result
