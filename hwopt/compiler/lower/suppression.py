"""Non-maximum suppression as one loop: greedily, image by image and class by class."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from hwopt.compiler.loops import like
from hwopt.compiler.lower.call import Call, Converter, Tensor
from hwopt.targets import tvm_build


def suppression(
    call: Call,
    boxes: Tensor,
    scores: Tensor,
    most: int,
    overlap: float,
    least: float,
    centered: bool = False,
) -> list[Tensor]:
    """Convert ``non_maximum_suppression``; see ``hwopt.graph.suppression``."""
    images, classes, count = scores.shape
    loop = _Loop(images, classes, count, min(most, count), overlap, least, centered)
    if not loop.rows:
        empty = [spec.empty().zero_() for spec in call.results]
        return [Tensor(spec, constant=e) for spec, e in zip(call.results, empty, strict=True)]
    attrs = {tvm_build.SCHEDULED: True}
    operands = (call.plain(boxes), call.plain(scores))
    made = call.te(loop.describe, *operands, name="suppression", attrs=attrs)
    rows = call.result(call.emit(relax.TupleGetItem(made, 0)), index=0)
    total = call.emit(relax.op.reshape(call.emit(relax.TupleGetItem(made, 1)), ()))
    return [rows, call.result(total, index=1)]


class _Loop:
    """The loops, and what they need on the way: scores that are left, and the best of them."""

    def __init__(
        self,
        images: int,
        classes: int,
        count: int,
        most: int,
        overlap: float,
        least: float,
        centered: bool,
    ) -> None:
        self.images, self.classes, self.count, self.most = images, classes, count, most
        self.overlap, self.least, self.centered = overlap, least, centered
        self.rows = images * classes * most

    def describe(self, *inputs: te.Tensor) -> list[te.Tensor]:
        """Return the rows, their count, and the two tensors that are used on the way."""
        dtype = str(inputs[1].dtype)
        shapes = [(self.rows, 3), (1,), (self.count,), (1,)]
        sizes = [[_int(n) for n in shape] for shape in shapes]
        dtypes = ["int64", "int64", dtype, "int64"]
        made: list[te.Tensor] = te.extern(
            sizes, list(inputs), self._loop, dtype=dtypes, name="suppression"
        )
        return made

    def _loop(self, ins: list[Any], outs: list[Any]) -> Any:
        # A builder takes one statement: what follows stands in a loop of one turn.
        with IRBuilder() as builder:
            with T.serial(0, _int(1)):
                self._body(*map(T.buffer_proxy, (*ins, *outs)), dtype=str(ins[1].dtype))
            return builder.get()

    def _body(
        self, boxes: Any, scores: Any, rows: Any, total: Any, left: Any, best: Any, *, dtype: str
    ) -> None:
        nothing = -tirx.infinity(dtype)
        total[0] = _int(0)
        with T.serial(0, _int(self.images)) as image, T.serial(0, _int(self.classes)) as kind:
            with T.serial(0, _int(self.count)) as i:
                score = scores[image, kind, i]
                left[i] = tirx.Select(score > tirx.const(self.least, dtype), score, nothing)
            with T.serial(0, _int(self.most)):
                best[0] = _int(0)
                with T.serial(0, _int(self.count)) as i:
                    best[0] = tirx.Select(left[i] > left[best[0]], i, best[0])
                with T.If(left[best[0]] > nothing), T.Then():
                    for column, number in enumerate((image, kind, best[0])):
                        rows[total[0], _int(column)] = number
                    total[0] = total[0] + _int(1)
                    with T.serial(0, _int(self.count)) as i:
                        gone = tirx.any(self._overlaps(boxes, image, i, best[0]), i == best[0])
                        left[i] = tirx.Select(gone, nothing, left[i])
        with T.serial(0, _int(self.rows)) as row, T.serial(0, _int(3)) as column:
            rows[row, column] = tirx.Select(row < total[0], rows[row, column], _int(-1))

    def _overlaps(self, boxes: Any, image: Any, one: Any, other: Any) -> Any:
        first, second = (self._sides(boxes, image, place) for place in (one, other))

        def length(low: Any, high: Any) -> Any:
            return tirx.max(high - low, like(low, 0))

        common: Any = None
        sizes: list[Any] = [None, None]
        for axis in range(2):
            sides = [box[axis] for box in (first, second)]
            shared = length(tirx.max(sides[0][0], sides[1][0]), tirx.min(sides[0][1], sides[1][1]))
            common = shared if common is None else common * shared
            for place, (low, high) in enumerate(sides):
                side = length(low, high)
                sizes[place] = side if sizes[place] is None else sizes[place] * side
        union = sizes[0] + sizes[1] - common
        return common > like(union, self.overlap) * union

    def _sides(self, boxes: Any, image: Any, place: Any) -> list[tuple[Any, Any]]:
        """Return where a box begins and ends, of both axes."""
        numbers = [boxes[image, place, _int(n)] for n in range(4)]
        if self.centered:
            half = like(numbers[0], 0.5)
            return [
                (numbers[n] - numbers[n + 2] * half, numbers[n] + numbers[n + 2] * half)
                for n in range(2)
            ]
        return [
            (tirx.min(numbers[n], numbers[n + 2]), tirx.max(numbers[n], numbers[n + 2]))
            for n in range(2)
        ]


def _int(number: int) -> Any:
    return tirx.IntImm("int64", number)


CONVERTERS: dict[str, Converter] = {"non_maximum_suppression.default": suppression}
