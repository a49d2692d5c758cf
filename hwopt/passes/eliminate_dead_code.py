"""``eliminate-dead-code``: remove what no output depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwopt.graph import Value
from hwopt.graph.cleanup import remove_unused, unused
from hwopt.passes.base import Context, Note, Pass, PassResult

if TYPE_CHECKING:
    from hwopt.graph import Graph


@dataclass(frozen=True)
class EliminateDeadCode(Pass):
    """Remove nodes and parameters that no output depends on.

    Dropout does nothing in a compiled model but matters in training: it is removed only with
    ``keep_dropout=false``, and stays where the model asks for it at inference, too.
    """

    name = "eliminate-dead-code"
    preserves_function = True

    keep_dropout: bool = True

    def ensures(self, graph: Graph) -> str | None:
        """Return what no output depends on."""
        dead = unused(graph)
        return f"{dead[0]} is not used: apply {self.name} first" if dead else None

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph without dead code."""
        result = graph.copy()
        notes = []
        if not self.keep_dropout:
            for node in result.nodes("dropout"):
                if node.attributes.get("train"):
                    continue  # it drops at inference, too
                result.replace_uses(Value(node.name), node.input)
                notes.append(Note(node.name, "dropout does nothing at inference", changed=True))
        removed = remove_unused(result)
        notes += [Note(name, "no output depends on it", changed=True) for name in removed]
        if not notes:
            return PassResult(graph, modified=False)
        return PassResult(result, modified=True, notes=tuple(notes))
