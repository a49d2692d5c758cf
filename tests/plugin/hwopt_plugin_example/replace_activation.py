"""``replace-activation``: put one activation in the place of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hwopt.graph import Graph, Node
from hwopt.passes import Context, Note, Pass, PassResult

_REPLACEABLE = ("silu", "gelu", "hardswish", "sigmoid", "tanh", "relu6")


@dataclass(frozen=True)
class ReplaceActivation(Pass):
    """Replace costly activations by a cheap one."""

    name = "replace-activation"

    by: Literal["relu", "hardswish"] = "relu"

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with every replaceable activation replaced."""
        result = graph.copy()
        notes = []
        for node in graph.nodes():
            if node.op in _REPLACEABLE and node.op != self.by:
                result.replace_node(Node(node.name, self.by, {"self": node.input}))
                notes.append(Note(node.name, f"{node.op} became {self.by}", changed=True))
        if not notes:
            return PassResult(graph, modified=False)
        return PassResult(result, modified=True, notes=tuple(notes))
