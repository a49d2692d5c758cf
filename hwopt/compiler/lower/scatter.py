"""Writing where other tensors say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tvm import relax, te, tirx

from hwopt.compiler.loops import broadcasting, compute, like
from hwopt.compiler.lower.call import Call, Converter, Spec, Tensor
from hwopt.compiler.lower.indexing import Indexed, checked, taken
from hwopt.compiler.lower.movement import expanded, sliced

op = relax.op


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
    indexed = Indexed(call, x, indices)
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


def _flat_places(call: Call, x: Tensor, indexed: Indexed, shape: list[int]) -> Any:
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
    if kind != "update" and str(data.ty.dtype.dtype) == "bool":  # TVM adds and compares no bools
        data, source = (call.cast(x, "bool", "int64") for x in (data, source))
        return call.cast(_scattered(call, data, index, source, axis, kind), "int64", "bool")
    return call.emit(op.scatter_elements(data, index, source, axis, kind))


def scatter(kind: str) -> Converter:
    """Return a converter for ``scatter`` and ``scatter_add``."""

    def convert(call: Call, x: Tensor, dim: int, index: Tensor, source: Any, **_: Any) -> Tensor:
        return _scatter(call, x, dim, index, source, kind)

    return convert


def _reduced_scatter(
    call: Call, x: Tensor, dim: int, index: Tensor, source: Any, *, reduce: str
) -> Tensor:
    """Convert ``scatter`` with ``reduce``: sums or products with what was there."""
    return _scatter(call, x, dim, index, source, {"add": "add", "multiply": "mul"}[reduce])


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
    """Convert ``scatter_reduce``."""
    if reduce == "mean":
        return _scattered_mean(call, x, dim, index, source, include_self)
    kind = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min"}[reduce]
    if include_self:
        return _scatter(call, x, dim, index, source, kind)
    neutral: Any = {"sum": 0, "prod": 1, "amax": -math.inf, "amin": math.inf}[reduce]
    if x.dtype == "bool":
        neutral = reduce in ("prod", "amin")
    elif math.isinf(neutral) and not x.dtype.startswith("float"):
        info = torch.iinfo(getattr(torch, x.dtype))
        neutral = info.min if reduce == "amax" else info.max
    emptied = _scatter(call, x, dim, index, neutral, "update")
    return _scatter(call, emptied, dim, index, source, kind)


def _scattered_mean(
    call: Call, x: Tensor, dim: int, index: Tensor, source: Tensor, include_self: bool
) -> Tensor:
    """Return sums over counts; whole numbers are rounded down."""
    start = x if include_self else _scatter(call, x, dim, index, 0, "update")
    total = _scatter(call, start, dim, index, source, "add")
    ones = torch.full(x.shape, int(include_self), dtype=getattr(torch, x.dtype))
    counted = _scatter(call, Tensor(x.spec, constant=ones), dim, index, 1, "add")

    def mean(numerator: Any, count: Any) -> Any:
        divisor = tirx.max(count, like(count, 1))
        if x.dtype.startswith("float"):
            return numerator / divisor
        return tirx.floordiv(numerator, divisor)

    return call.result(
        call.te(broadcasting(mean, x.shape), call.plain(total), call.plain(counted), name="mean")
    )


def index_reduce(
    call: Call, x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, **options: Any
) -> Tensor:
    """Convert ``index_reduce``: rows of one tensor are reduced into rows of another."""
    if not x.shape:
        return scatter_reduce(call, x, dim, index, source, reduce, **options)
    axis = dim % len(x.shape)
    along = [math.prod(index.shape) if n == axis else 1 for n in range(len(source.shape))]
    rows = expanded(call, call.reshaped(index, along), source.shape)
    return scatter_reduce(call, x, axis, rows, source, reduce, **options)


def _viewed_scatter(view: Callable[..., torch.Tensor]) -> Converter:
    """Return a converter for writing into what a function of a tensor shows of it."""

    def convert(call: Call, x: Tensor, source: Tensor, *arguments: Any) -> Tensor:
        count = math.prod(x.shape)
        places = view(torch.arange(count).reshape(x.shape), *arguments).reshape(-1)
        row = call.plain(call.reshaped(x, (count,)))
        values = call.plain(call.reshaped(source, (len(places),)), x.dtype)
        found = _scattered(call, row, call.constant(places), values, 0, "update")
        return call.reshaped(call.temporary(found, Spec((count,), x.dtype)), x.shape)

    return convert


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
    whole = call.plain(expanded(call, mask, call.shape), "int64")
    row = call.emit(op.reshape(whole, (math.prod(call.shape),)))
    number = call.emit(op.subtract(call.emit(op.cumsum(row, 0, "int64")), call.number(1, "int64")))
    last = call.number(count - 1, "int64")
    inside = call.emit(op.maximum(call.number(0, "int64"), call.emit(op.minimum(number, last))))
    values = taken(call, call.plain(call.reshaped(source, (count,)), x.dtype), inside, 0)
    shaped = call.emit(op.reshape(values, call.shape))
    asked = call.plain(expanded(call, mask, call.shape), "bool")
    data = call.plain(expanded(call, x, call.shape))
    return call.result(call.emit(op.where(asked, shaped, data)))


CONVERTERS: dict[str, Converter] = {
    "index_put.default": index_put,
    "_unsafe_index_put.default": index_put,
    "scatter.src": scatter("update"),
    "scatter.value": scatter("update"),
    "scatter.reduce": _reduced_scatter,
    "scatter.value_reduce": _reduced_scatter,
    "scatter_add.default": scatter("add"),
    "scatter_reduce.two": scatter_reduce,
    "select_scatter.default": select_scatter,
    "slice_scatter.default": slice_scatter,
    "index_reduce.default": index_reduce,
    "diagonal_scatter.default": _viewed_scatter(torch.diagonal),
    "as_strided_scatter.default": _viewed_scatter(torch.as_strided),
    "put.default": put,
    "masked_scatter.default": masked_scatter,
}
