"""``suppress-boxes``: a detector that returns few boxes, not all that it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from hwopt.errors import HwoptError, unknown_name
from hwopt.graph import Graph, Value
from hwopt.graph.suppression import OPERATOR
from hwopt.passes.base import Context, Note, Pass, PassResult
from hwopt.passes.insertion import insert_module, unique_prefix

#: What the pass returns in place of the detector's outputs.
OUTPUTS = ("images", "boxes", "scores", "classes", "count")


@dataclass(frozen=True)
class SuppressBoxes(Pass):
    """Let a detector choose boxes by their scores, and leave out what overlaps a chosen one.

    The detector returns boxes (N, B, 4) and scores (N, B, classes), each also with the last two
    axes the other way round, or one output of both, whose first four numbers are the box. In their
    place are M rows (N times ``most``, or as many boxes as there are), by image and then by score,
    of which ``count`` count and the others are zero: ``images`` int64 (M,), ``boxes`` (M, 4) as the
    detector gives them, ``scores`` (M,), and ``classes`` int64 (M,).

    A box is of the class of its largest score; only boxes of one class suppress each other.

    Options:
        boxes, scores: names of the outputs; both empty where one output is both.
        overlap: of intersection to union, above which a box is left out.
        least: scores must be more than that.
        most: boxes of an image, at most.
        centered: boxes are x and y of their centre, width and height; else two corners.

    Raises:
        HwoptError: if an option is out of range, or the detector returns something else.

    >>> str(SuppressBoxes(least=0.5, centered=True))
    'suppress-boxes{least=0.5,centered=true}'
    """

    name = "suppress-boxes"
    changes_interface = True

    boxes: str = ""
    scores: str = ""
    overlap: float = 0.5
    least: float = 0.25
    most: int = 100
    centered: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        if not 0 <= self.overlap <= 1 or self.most < 1 or bool(self.boxes) != bool(self.scores):
            raise HwoptError(
                f"pass {self.name}: overlap must be in [0, 1], most at least 1, and boxes and "
                "scores both outputs, or both empty"
            )

    def requires(self, graph: Graph) -> str | None:
        """Return what are no boxes and scores."""
        for name in filter(None, (self.boxes, self.scores)):
            if name not in graph.outputs:
                return str(unknown_name("output", name, graph.outputs))
        names = [self.boxes, self.scores] if self.boxes else list(graph.outputs)
        specs = [graph.spec(graph.outputs[name]) for name in names]
        found = ", ".join(map(str, specs))
        if not self.boxes and len(specs) != 1:
            return f"{graph.name} has the outputs {', '.join(names)}: say which are boxes, scores"
        if any(len(spec.shape) != 3 or spec.dtype != "float32" for spec in specs):
            return f"{found} are not (N, boxes, numbers) in float32"
        if self.boxes and not _are_boxes_and_scores(*(spec.shape[1:] for spec in specs)):
            return f"{found} are not four numbers, and scores, of as many boxes"
        if not self.boxes and min(specs[0].at()[1:]) < 5:
            return f"{found} has no scores behind the four numbers of a box"
        taken = [name for name in graph.outputs if name in OUTPUTS and name not in names]
        return f"it has an output {taken[0]!r} beside boxes and scores already" if taken else None

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with other outputs."""
        names = [self.boxes, self.scores] if self.boxes else list(graph.outputs)
        outputs = [graph.outputs[name] for name in names]
        values = [value for value in outputs if isinstance(value, Value)]
        result = graph.copy()
        prefix = unique_prefix(graph, self.name.replace("-", "_"))
        found = insert_module(
            result,
            prefix,
            lambda: _Suppressed(self),
            *values,
            seed=context.seed,
        )
        kept = {name: one for name, one in graph.outputs.items() if name not in names}
        result.outputs = {**kept, **dict(zip(OUTPUTS, found, strict=True))}
        note = Note(", ".join(names), f"at most {self.most} boxes of an image", changed=True)
        return PassResult(result, modified=True, notes=(note,))


def _are_boxes_and_scores(boxes: tuple[Any, ...], scores: tuple[Any, ...]) -> bool:
    """Return whether shapes, without the batch, are of four numbers and scores of all boxes."""
    return 4 in boxes and (boxes[0] if boxes[1] == 4 else boxes[1]) in scores


class _Suppressed(nn.Module):
    def __init__(self, options: SuppressBoxes) -> None:
        super().__init__()
        self.options = options

    def forward(self, *outputs: Tensor) -> tuple[Tensor, ...]:
        boxes, scores = self._boxes_and_scores(outputs)
        best, classes = scores.max(-1)
        # Boxes of different classes lie so far apart that none overlaps.
        span = 2 * boxes.abs().amax((1, 2), keepdim=True)
        centre = boxes.new_tensor([1.0, 1.0, 0.0, 0.0] if self.options.centered else [1.0] * 4)
        apart = boxes + (2 * span + 1) * classes[:, :, None] * centre
        options = self.options
        rows, count = OPERATOR(
            apart, best[:, None], options.most, options.overlap, options.least, options.centered
        )
        counts = rows[:, 0] >= 0
        images, places = (rows[:, axis].clamp(min=0) for axis in (0, 2))
        flat = images * boxes.shape[1] + places
        chosen = [
            boxes.reshape(-1, 4)[flat] * counts[:, None],
            best.reshape(-1)[flat] * counts,
            classes.reshape(-1)[flat] * counts,
        ]
        return images * counts, *chosen, count

    def _boxes_and_scores(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Return boxes (N, B, 4) and scores (N, B, classes)."""
        if len(outputs) == 1:
            # There are more boxes than numbers of one.
            rows = outputs[0].mT if outputs[0].shape[1] < outputs[0].shape[2] else outputs[0]
            return rows[:, :, :4], rows[:, :, 4:]
        boxes, scores = outputs
        boxes = boxes if boxes.shape[2] == 4 else boxes.mT
        return boxes, scores if scores.shape[1] == boxes.shape[1] else scores.mT
