"""Reading and writing where other tensors say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from tvm import relax, te, tirx

from hwopt.compiler.loops import compute
from hwopt.compiler.lower.call import Call, Converter, Spec, Tensor
from hwopt.compiler.lower.movement import expanded

op = relax.op
#: TVM's pattern of kernels that move elements; by itself it takes indirect ones for anything.
_INJECTIVE = {"op_pattern": 2}


def checked(call: Call, index: Tensor, size: int, what: str, from_behind: bool = True) -> Any:
    """Return indices in Relax, as int64, of which none leads outside of a dimension.

    Where one does, the model says so; nothing is read or written there.

    Args:
        call: that indexes.
        index: whole numbers.
        size: of the dimension.
        what: the dimension, for the sentence.
        from_behind: whether -1 is the last one.
    """
    least = -size if from_behind else 0
    sentence = f"{call.place}: an index of {what} is outside [{least}, {size - 1}]"
    if index.constant is not None:
        known = index.constant.long()
        if known.numel() and (int(known.min()) < least or int(known.max()) >= size):
            raise call.refuse(f"an index outside [{least}, {size - 1}]")
        return call.constant(torch.where(known < 0, known + size, known))
    data = call.plain(index, "int64")
    if math.prod(index.shape) == 0:
        return data

    def outside(numbers: te.Tensor) -> te.Tensor:
        along = [te.reduce_axis((0, n), name="i") for n in numbers.shape]

        def wrong(_: Any) -> Any:
            one = numbers(*along)
            return te.max(tirx.Cast("int32", tirx.any(one < least, one >= size)), axis=along)

        return compute((1,), wrong, "outside")

    def inside(numbers: te.Tensor) -> te.Tensor:
        def at(*place: Any) -> Any:
            one = numbers(*place)
            last = tirx.const(size - 1, "int64")
            one = tirx.Select(one < 0, one + tirx.const(size, "int64"), one) if from_behind else one
            return tirx.max(tirx.const(0, "int64"), tirx.min(one, last))

        return compute(numbers.shape, at, name="inside")

    numbered = data if index.shape else call.emit(op.reshape(data, (1,)))
    call.check(call.te(outside, numbered, name="check_indices"), sentence)
    return call.te(inside, data, name="indices")


def taken(call: Call, data: Any, places: Any, axis: int) -> Any:
    """Emit what stands at places along an axis, which are all inside."""
    sizes = [int(n) for n in data.ty.shape]
    rank = places.ty.ndim
    shape = [*sizes[:axis], *(int(n) for n in places.ty.shape), *sizes[axis + 1 :]]

    def describe(source: te.Tensor, where: te.Tensor) -> te.Tensor:
        def at(*place: Any) -> Any:
            along = where(*place[axis : axis + rank])
            return source(*place[:axis], along, *place[axis + rank :])

        return compute(shape, at, "take")

    return call.te(describe, data, places, attrs=_INJECTIVE)


def embedding(call: Call, weight: Tensor, index: Tensor, *_: Any) -> Tensor:
    """Convert ``embedding``: rows of a table."""
    rows = checked(call, index, weight.shape[0], "the table", from_behind=False)
    return call.result(taken(call, call.plain(weight), rows, 0))


def index_select(call: Call, x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Convert ``index_select``."""
    if not x.shape:
        return x
    axis = dim % len(x.shape)
    places = checked(call, index, x.shape[axis], f"dimension {axis}", from_behind=False)
    if not index.shape:
        places = call.emit(op.reshape(places, (1,)))
    return call.result(taken(call, call.plain(x), places, axis))


def gather(call: Call, x: Tensor, dim: int, index: Tensor, **_: Any) -> Tensor:
    """Convert ``gather``."""
    rank = len(x.shape)
    axis = dim % max(rank, 1)
    size = x.shape[axis] if rank else 1
    places = checked(call, index, size, f"dimension {axis}", from_behind=False)
    if not rank:
        return call.reshaped(x, call.shape)

    def describe(data: te.Tensor, indices: te.Tensor) -> te.Tensor:
        def at(*place: Any) -> Any:
            return data(*place[:axis], indices(*place), *place[axis + 1 :])

        return compute(indices.shape, at, name="gather")

    return call.result(call.te(describe, call.plain(x), places))


class Indexed:
    """The dimensions that ``index`` and ``index_put`` index, and the places of one element.

    Indexed dimensions that stand side by side give way to those of the indices; otherwise these
    come first.
    """

    def __init__(self, call: Call, x: Tensor, indices: Sequence[Tensor | None]) -> None:
        listed: list[Tensor | None] = []
        for index in indices:
            listed += _whole_numbers(call, index)
        listed += [None] * (len(x.shape) - len(listed))
        self.dims = [dim for dim, index in enumerate(listed) if index is not None]
        given = [index for index in listed if index is not None]
        self.shape = tuple(torch.broadcast_shapes(*(index.shape for index in given)))
        self.places = []
        for dim, index in zip(self.dims, given, strict=True):
            numbers = checked(call, index, x.shape[dim], f"dimension {dim}")
            whole = Tensor(Spec(index.shape, "int64"), numbers, tuple(range(len(index.shape))))
            self.places.append(call.plain(expanded(call, whole, self.shape)))
        side_by_side = self.dims == list(range(self.dims[0], self.dims[-1] + 1))
        self.first = self.dims[0] if side_by_side else 0
        self.rank = len(x.shape)

    def result_shape(self, x: Tensor) -> list[int]:
        """Return the shape of what is read."""
        others = [n for dim, n in enumerate(x.shape) if dim not in self.dims]
        return [*others[: self.first], *self.shape, *others[self.first :]]

    def source(self, place: tuple[Any, ...], places: Sequence[te.Tensor]) -> list[Any]:
        """Return where an element of the result stands in the tensor."""
        end = self.first + len(self.shape)
        among, others = place[self.first : end], iter((*place[: self.first], *place[end:]))
        by = dict(zip(self.dims, places, strict=True))
        return [by[dim](*among) if dim in by else next(others) for dim in range(self.rank)]


def _whole_numbers(call: Call, index: Tensor | None) -> list[Tensor | None]:
    """Return indices as whole numbers: a known mask of bools becomes the places where it holds."""
    if index is None or index.dtype not in ("bool", "uint8"):
        return [index]
    if index.constant is None:
        raise call.refuse("a mask that depends on the input, so that the shape is not known,")
    places = index.constant.bool().nonzero(as_tuple=True)
    return [Tensor(Spec.of(place), constant=place) for place in places]


def index(call: Call, x: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """Convert indexing by tensors."""
    indexed = Indexed(call, x, indices)
    if len(indexed.dims) == 1:
        return call.result(taken(call, call.plain(x), indexed.places[0], indexed.dims[0]))

    def describe(data: te.Tensor, *places: te.Tensor) -> te.Tensor:
        def at(*place: Any) -> Any:
            return data(*indexed.source(place, places))

        return compute(call.shape, at, name="index")

    return call.result(call.te(describe, call.plain(x), *indexed.places))


def take(call: Call, x: Tensor, index: Tensor) -> Tensor:
    """Convert ``take``: elements of the tensor as one row."""
    count = math.prod(x.shape)
    row = call.reshaped(x, (count,))
    places = checked(call, index, count, "the tensor as one row")
    return call.result(taken(call, call.plain(row), places, 0))


CONVERTERS: dict[str, Converter] = {
    "embedding.default": embedding,
    "index_select.default": index_select,
    "gather.default": gather,
    "index.Tensor": index,
    "_unsafe_index.Tensor": index,
    "take.default": take,
}
