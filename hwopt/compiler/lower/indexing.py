"""Reading and writing where other tensors say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from tvm import relax, te, tirx

from hwopt.compiler.loops import broadcasting, compute, dtype_of, is_nan, like
from hwopt.compiler.lower.call import Call, Converter, Spec, Tensor
from hwopt.compiler.lower.movement import expanded, sliced

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


class _Indexed:
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
    indexed = _Indexed(call, x, indices)
    if len(indexed.dims) == 1:
        return call.result(taken(call, call.plain(x), indexed.places[0], indexed.dims[0]))

    def describe(data: te.Tensor, *places: te.Tensor) -> te.Tensor:
        def at(*place: Any) -> Any:
            return data(*indexed.source(place, places))

        return compute(call.shape, at, name="index")

    return call.result(call.te(describe, call.plain(x), *indexed.places))


def index_put(
    call: Call,
    x: Tensor,
    indices: Sequence[Tensor | None],
    values: Tensor,
    accumulate: bool = False,
    *_: Any,
) -> Tensor:
    """Convert assignment where tensors say; of what is written twice the last one stays."""
    if len(indices) == 1 and indices[0] is not None and _is_mask(indices[0]):
        return _masked_put(call, x, indices[0], values, accumulate)
    indexed = _Indexed(call, x, indices)
    shape = indexed.result_shape(x)
    source = expanded(call, values, tuple(shape))
    flat = _flat_places(call, x, indexed, shape)
    rows = call.emit(op.reshape(call.plain(source, x.dtype), (math.prod(shape),)))
    data = call.emit(op.reshape(call.plain(x), (math.prod(x.shape),)))
    kind = "add" if accumulate else "update"
    found = _scattered(call, data, flat, rows, 0, kind)
    return call.result(call.emit(op.reshape(found, x.shape)))


def _is_mask(index: Tensor) -> bool:
    return index.dtype == "bool" and index.constant is None


def _masked_put(call: Call, x: Tensor, mask: Tensor, values: Tensor, accumulate: bool) -> Tensor:
    if math.prod(values.shape) != 1:
        raise call.refuse("a mask that depends on the input and more than one value")
    one = call.plain(call.reshaped(values, ()), x.dtype)
    asked = call.reshaped(mask, (*mask.shape, *[1] * (len(x.shape) - len(mask.shape))))
    data = call.plain(x)
    written = call.emit(op.add(data, one)) if accumulate else one
    return call.result(call.emit(op.where(call.plain(asked), written, data)))


def _flat_places(call: Call, x: Tensor, indexed: _Indexed, shape: list[int]) -> Any:
    """Return where each element that is written stands, counted through the whole tensor."""

    def describe(*places: te.Tensor) -> te.Tensor:
        def at(*place: Any) -> Any:
            flat: Any = tirx.const(0, "int64")
            for where, size in zip(indexed.source(place, places), x.shape, strict=True):
                flat = flat * size + where
            return tirx.Cast("int64", flat)

        return compute(shape, at, name="places")

    found = call.te(describe, *indexed.places, name="places")
    return call.emit(op.reshape(found, (math.prod(shape),)))


def _scattered(call: Call, data: Any, index: Any, source: Any, axis: int, kind: str) -> Any:
    return call.emit(op.scatter_elements(data, index, source, axis, kind))


def scatter(kind: str) -> Converter:
    """Return a converter for ``scatter`` and ``scatter_add``."""

    def convert(call: Call, x: Tensor, dim: int, index: Tensor, source: Any, **_: Any) -> Tensor:
        return _scatter(call, x, dim, index, source, kind)

    return convert


def _scatter(call: Call, x: Tensor, dim: int, index: Tensor, source: Any, kind: str) -> Tensor:
    if not x.shape:
        wide = call.reshaped(x, (1,))
        if isinstance(source, Tensor):
            source = call.reshaped(source, (1,))
        found = _scatter(call, wide, 0, call.reshaped(index, (1,)), source, kind)
        return call.reshaped(found, ())
    axis = dim % len(x.shape)
    if math.prod(index.shape) == 0:
        return x
    places = checked(call, index, x.shape[axis], f"dimension {axis}", from_behind=False)
    if isinstance(source, Tensor):
        part = source
        for n, size in enumerate(index.shape):
            part = sliced(call, part, n, 0, size)
        values = call.plain(part, x.dtype)
    else:
        filled = torch.full(index.shape, source, dtype=getattr(torch, x.dtype))
        values = call.constant(filled)
    found = _scattered(call, call.plain(x), places, values, axis, kind)
    return call.temporary(found, x.spec)


def scatter_reduce(
    call: Call,
    x: Tensor,
    dim: int,
    index: Tensor,
    source: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """Convert ``scatter_reduce``; means are refused."""
    kinds = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min"}
    if reduce not in kinds:
        raise call.refuse(f"reduce={reduce!r}")
    if include_self:
        return _scatter(call, x, dim, index, source, kinds[reduce])
    neutral = {"sum": 0, "prod": 1, "amax": -math.inf, "amin": math.inf}[reduce]
    if math.isinf(neutral) and not x.dtype.startswith("float"):
        info = torch.iinfo(getattr(torch, x.dtype))
        neutral = info.min if reduce == "amax" else info.max
    emptied = _scatter(call, x, dim, index, neutral, "update")
    return _scatter(call, emptied, dim, index, source, kinds[reduce])


def select_scatter(call: Call, x: Tensor, source: Tensor, dim: int, index: int) -> Tensor:
    """Convert ``select_scatter``: one place along a dimension is another tensor's."""
    axis = dim % len(x.shape)
    shape = list(x.shape)
    shape[axis] = 1
    start = index % x.shape[axis]
    return _written(call, x, call.reshaped(source, shape), axis, start, 1)


def slice_scatter(
    call: Call,
    x: Tensor,
    source: Tensor,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Tensor:
    """Convert ``slice_scatter``: part of a dimension is another tensor's."""
    axis = dim % len(x.shape)
    first, _, _ = slice(start, end).indices(x.shape[axis])
    return _written(call, x, source, axis, first, step)


def _written(call: Call, x: Tensor, source: Tensor, axis: int, start: int, step: int) -> Tensor:
    count = source.shape[axis]
    if math.prod(source.shape) == 0:
        return x
    whole = expanded(call, source, tuple(count if n == axis else s for n, s in enumerate(x.shape)))

    def describe(data: te.Tensor, part: te.Tensor) -> te.Tensor:
        def at(*place: Any) -> Any:
            along = place[axis] - start
            inside = [along >= 0, along < count * step]
            if step > 1:
                inside.append(tirx.floormod(along, step) == 0)
            which = tirx.floordiv(along, step) if step > 1 else along
            written = part(*place[:axis], which, *place[axis + 1 :])
            return tirx.if_then_else(tirx.all(*inside), written, data(*place))

        return compute(data.shape, at, name="written")

    return call.result(call.te(describe, call.plain(x), call.plain(whole, x.dtype)))


def take(call: Call, x: Tensor, index: Tensor) -> Tensor:
    """Convert ``take``: elements of the tensor as one row."""
    count = math.prod(x.shape)
    row = call.reshaped(x, (count,))
    places = checked(call, index, count, "the tensor as one row")
    return call.result(taken(call, call.plain(row), places, 0))


def put(call: Call, x: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """Convert ``put``: elements of the tensor as one row are others."""
    count, written = math.prod(x.shape), math.prod(index.shape)
    places = checked(call, call.reshaped(index, (written,)), count, "the tensor as one row")
    values = call.plain(call.reshaped(source, (written,)), x.dtype)
    row = call.plain(call.reshaped(x, (count,)))
    found = _scattered(call, row, places, values, 0, "add" if accumulate else "update")
    return call.reshaped(call.temporary(found, Spec((count,), x.dtype)), x.shape)


def masked_scatter(call: Call, x: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """Convert ``masked_scatter``: where the mask holds, the source's elements one by one."""
    count = math.prod(source.shape)
    whole = call.plain(expanded(call, mask, x.shape), "int64")
    row = call.emit(op.reshape(whole, (math.prod(x.shape),)))
    number = call.emit(op.subtract(call.emit(op.cumsum(row, 0, "int64")), call.number(1, "int64")))
    last = call.number(count - 1, "int64")
    inside = call.emit(op.maximum(call.number(0, "int64"), call.emit(op.minimum(number, last))))
    values = taken(call, call.plain(call.reshaped(source, (count,)), x.dtype), inside, 0)
    shaped = call.emit(op.reshape(values, x.shape))
    asked = call.plain(expanded(call, mask, x.shape), "bool")
    return call.result(call.emit(op.where(asked, shaped, call.plain(x))))


def _key(x: Any) -> Any:
    """Return a whole number that grows with a float; NaN has the largest.

    The bits of floats below zero fall where the numbers grow, all but the first.
    """
    bits, largest = {"float32": ("int32", 2**31 - 1), "float64": ("int64", 2**63 - 1)}[dtype_of(x)]
    one = tirx.reinterpret(bits, x)
    ordered = tirx.Select(one < 0, tirx.bitwise_xor(one, tirx.const(largest, bits)), one)
    ordered = tirx.Select(x == like(x, 0), tirx.const(0, bits), ordered)
    return tirx.Select(is_nan(x), tirx.const(largest, bits), ordered)


def sort(call: Call, x: Tensor, dim: int = -1, descending: bool = False, **_: Any) -> list[Tensor]:
    """Convert ``sort``: equal numbers stay in their sequence."""
    if not x.shape:
        return [x, Tensor(Spec((), "int64"), constant=torch.tensor(0))]
    if x.dtype == "bool":
        numbers = call.temporary(call.plain(x, "uint8"), Spec(x.shape, "uint8"))
        values, places = sort(call, numbers, dim, descending)
        return [call.temporary(call.plain(values, "bool"), x.spec), places]
    axis = dim % len(x.shape)
    data = call.plain(x)
    keys = data
    if x.dtype.startswith("float"):
        keys = call.te(broadcasting(_key, x.shape), data, name="sort_keys")
    elif x.dtype not in ("int32", "int64"):
        keys = call.plain(x, "int32")  # TVM's sort knows no others
    places = call.emit(op.argsort(keys, axis, descending, "int64"))
    found = call.emit(op.gather_elements(data, places, axis))
    return [call.temporary(found, x.spec), call.temporary(places, Spec(x.shape, "int64"))]


def at_rank(call: Call, x: Tensor, rank: int, dim: int, keepdim: bool) -> list[Tensor]:
    """Return the number at a rank of the sorted ones along a dimension, and its place."""
    if not x.shape:
        return sort(call, x)
    axis = dim % len(x.shape)
    shape = [1 if n == axis else size for n, size in enumerate(x.shape)]
    shape = shape if keepdim else [size for n, size in enumerate(x.shape) if n != axis]
    parts = [sliced(call, part, axis, rank, rank + 1) for part in sort(call, x, axis)]
    return [call.reshaped(part, shape) for part in parts]


def kthvalue(call: Call, x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> list[Tensor]:
    """Convert ``kthvalue``."""
    return at_rank(call, x, k - 1, dim, keepdim)


def topk(
    call: Call, x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> list[Tensor]:
    """Convert ``topk``."""
    if not x.shape:
        return [x, Tensor(Spec((), "int64"), constant=torch.tensor(0))]
    both = call.emit(op.topk(call.plain(x), k, dim % len(x.shape), "both", largest, "int64"))
    return [call.result(call.emit(relax.TupleGetItem(both, n)), index=n) for n in range(2)]


CONVERTERS: dict[str, Converter] = {
    "embedding.default": embedding,
    "index_select.default": index_select,
    "gather.default": gather,
    "index.Tensor": index,
    "_unsafe_index.Tensor": index,
    "index_put.default": index_put,
    "_unsafe_index_put.default": index_put,
    "scatter.src": scatter("update"),
    "scatter.value": scatter("update"),
    "scatter_add.default": scatter("add"),
    "scatter_reduce.two": scatter_reduce,
    "select_scatter.default": select_scatter,
    "slice_scatter.default": slice_scatter,
    "take.default": take,
    "put.default": put,
    "masked_scatter.default": masked_scatter,
    "sort.default": sort,
    "sort.stable": lambda call, x, stable=None, dim=-1, descending=False, **_: sort(
        call, x, dim, descending
    ),
    "kthvalue.default": kthvalue,
    "topk.default": topk,
}
