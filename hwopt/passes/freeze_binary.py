"""``freeze-binary``: the weights of binary layers become +1 and -1, one bit each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwopt.graph.binary import sign
from hwopt.passes.base import Context, Note, Pass, PassResult
from hwopt.passes.layers import binary_weights

if TYPE_CHECKING:
    from hwopt.graph import Graph


@dataclass(frozen=True)
class FreezeBinary(Pass):
    """Replace the weights of binary layers by their signs, which are trained no more.

    Files then hold one bit a weight, and the compiler counts bits. The last step of training binary
    networks, after which the other parameters may be trained on.

    >>> str(FreezeBinary())
    'freeze-binary'
    """

    name = "freeze-binary"

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with signs in place of weights."""
        result, notes = graph.copy(), []
        for name in binary_weights(graph):
            tensor = graph.parameter(name)
            signs = sign(tensor)
            if not graph.is_trainable(name) and bool((signs == tensor).all()):
                notes.append(Note(name, "is frozen already", changed=False))
                continue
            result.set_parameter(name, signs, trainable=False)
            result.set_codebook(name)
            away = float((signs != tensor).float().mean())
            notes.append(Note(name, f"{away:.1%} were not +1 or -1 yet", changed=True))
        if not any(note.changed for note in notes):
            reason = () if notes else (Note("all layers", "none is binary", changed=False),)
            return PassResult(graph, modified=False, notes=(*notes, *reason))
        return PassResult(result, modified=True, notes=tuple(notes))
