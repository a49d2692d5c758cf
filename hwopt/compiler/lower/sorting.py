"""Sorting, and what is found by it."""

from __future__ import annotations

from typing import Any

import torch
from tvm import relax, tirx

from hwopt.compiler.loops import broadcasting, dtype_of, is_nan, like
from hwopt.compiler.lower.call import Call, Converter, Spec, Tensor
from hwopt.compiler.lower.movement import sliced

op = relax.op


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
    "sort.default": sort,
    "sort.stable": lambda call, x, stable=None, dim=-1, descending=False, **_: sort(
        call, x, dim, descending
    ),
    "kthvalue.default": kthvalue,
    "topk.default": topk,
}
