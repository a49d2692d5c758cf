"""``abstain``: a classifier that says which inputs it answers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from hwopt.errors import HwoptError
from hwopt.graph import Graph, Value
from hwopt.passes.base import Context, Note, Pass, PassResult
from hwopt.passes.insertion import insert_module, unique_prefix

ANSWERS = "answers"
"""The name of the output that the pass adds."""


@dataclass(frozen=True)
class Abstain(Pass):
    """Let a classifier say which inputs it answers, beside its logits.

    There is one more output, ``answers``, bool (N,): where the largest softmax probability reaches
    the threshold. ``hwopt.routing.selective.choose_threshold`` finds one for an error or a coverage
    on held-out samples; a network trained with ``hwopt.train.one_sided.OneSided`` answers more for
    the same error. Source: Gangrade, Kag and Saligrama 2021 (Selective classification via
    one-sided prediction).

    Options:
        threshold: of the probability, in [0, 1].

    Raises:
        HwoptError: if the threshold is out of range, or the graph returns something else than
            logits (N, classes).

    >>> str(Abstain(threshold=0.9))
    'abstain{threshold=0.9}'
    """

    name = "abstain"
    changes_interface = True

    threshold: float = 0.5

    def __post_init__(self) -> None:
        """Check the threshold."""
        super().__post_init__()
        if not 0 <= self.threshold <= 1:
            raise HwoptError(f"pass {self.name}: threshold must be in [0, 1], not {self.threshold}")

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with one more output."""
        outputs = list(graph.outputs.values())
        if (
            len(outputs) != 1
            or not isinstance(outputs[0], Value)
            or len(graph.spec(outputs[0]).shape) != 2
        ):
            found = ", ".join(str(graph.spec(one)) for one in outputs)
            raise HwoptError(
                f"pass {self.name}: {graph.name} returns {found}: it must return logits "
                "(N, classes) alone"
            )
        result = graph.copy()
        prefix = unique_prefix(graph, self.name)
        (answers,) = insert_module(
            result, prefix, lambda: _Answers(self.threshold), outputs[0], seed=context.seed
        )
        result.outputs = {**result.outputs, ANSWERS: answers}
        note = Note(ANSWERS, f"where a probability reaches {self.threshold:g}", changed=True)
        return PassResult(result, modified=True, notes=(note,))


class _Answers(nn.Module):
    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, logits: Tensor) -> Tensor:
        return logits.softmax(1).amax(1) >= self.threshold
