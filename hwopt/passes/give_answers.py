"""``give-answers``: a classifier that returns what it decides on, not logits."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from hwopt.errors import HwoptError
from hwopt.graph import Graph, Value
from hwopt.passes.base import Context, Note, Pass, PassResult
from hwopt.passes.insertion import insert_module, unique_prefix

#: The outputs that the pass makes of logits.
PROBABILITIES, CLASSES = "probabilities", "classes"


@dataclass(frozen=True)
class GiveAnswers(Pass):
    """Let a classifier return probabilities and classes in place of logits.

    Logits are (N, classes, ...), such as of images or of their pixels. There are two outputs in
    their place: ``probabilities``, float32 (N, top, ...), the largest first, and ``classes``, int64
    (N, top, ...).

    Options:
        top: how many; 0 returns all probabilities in the order of the classes, and no classes.
        softmax: whether outputs are logits; probabilities stay as they are.

    Raises:
        HwoptError: if an option is out of range, or the network returns something else.

    >>> str(GiveAnswers(top=5))
    'give-answers{top=5}'
    """

    name = "give-answers"
    changes_interface = True

    top: int = 1
    softmax: bool = True

    def __post_init__(self) -> None:
        """Check the number."""
        super().__post_init__()
        if self.top < 0:
            raise HwoptError(f"pass {self.name}: top must be at least 0, not {self.top}")

    def requires(self, graph: Graph) -> str | None:
        """Return what gives no classes."""
        specs = [graph.spec(one) for one in graph.outputs.values()]
        if len(specs) != 1 or len(specs[0].shape) < 2 or specs[0].dtype != "float32":
            found = ", ".join(map(str, specs))
            return f"{graph.name} returns {found}, not logits (N, classes, ...) in float32 alone"
        classes = specs[0].shape[1]
        if isinstance(classes, int) and self.top > classes:
            return f"there are {classes} classes, so none of {self.top} can be the largest"
        return None

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with other outputs."""
        ((name, logits),) = graph.outputs.items()
        assert isinstance(logits, Value)
        result = graph.copy()
        prefix = unique_prefix(graph, self.name.replace("-", "_"))
        found = insert_module(
            result, prefix, lambda: _Answers(self.top, self.softmax), logits, seed=context.seed
        )
        result.outputs = dict(zip((PROBABILITIES, CLASSES), found, strict=False))
        message = f"became {' and '.join(result.outputs)}"
        return PassResult(result, modified=True, notes=(Note(name, message, changed=True),))


class _Answers(nn.Module):
    def __init__(self, top: int, softmax: bool) -> None:
        super().__init__()
        self.top, self.softmax = top, softmax

    def forward(self, logits: Tensor) -> tuple[Tensor, ...]:
        probabilities = logits.softmax(1) if self.softmax else logits
        if not self.top:
            return (probabilities,)
        values, classes = probabilities.topk(self.top, 1)
        return values, classes
