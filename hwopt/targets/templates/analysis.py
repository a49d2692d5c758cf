"""Questions about the blocks of an unscheduled kernel."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir.expr import Call, TensorLoad, Var

SPATIAL, REDUCTION = tirx.IterVar.DataPar, tirx.IterVar.CommReduce


def blocks(schedule: s_tir.Schedule) -> list[Any]:
    """Return the computing blocks, producers before consumers.

    There is none in a kernel that only calls a function of TVM's runtime, such as sorting.
    """
    if schedule.mod["main"].body.block.name_hint != "root":
        return []
    root = schedule.get_sblock("root")
    return list(schedule.get_child_blocks(root))


def names(schedule: s_tir.Schedule) -> list[str]:
    """Return the names of :func:`blocks`."""
    return [str(schedule.get(block).name_hint) for block in blocks(schedule)]


def iterations(schedule: s_tir.Schedule, block: Any, kind: int | None = None) -> int:
    """Return how often the block runs, counting only iterators of ``kind`` if given."""
    return math.prod(
        int(var.dom.extent)
        for var in schedule.get(block).iter_vars
        if kind is None or var.iter_type == kind
    )


def is_reduction(schedule: s_tir.Schedule, block: Any) -> bool:
    """Return whether the block sums, maximises, ... over some iterator."""
    return any(var.iter_type == REDUCTION for var in schedule.get(block).iter_vars)


def is_contraction(schedule: s_tir.Schedule, block: Any) -> bool:
    """Return whether the block sums products of two tensors, as matmul and convolution do."""
    if not is_reduction(schedule, block):
        return False
    written = {region.source for region in schedule.get(block).writes}
    found = False

    def visit(product: Any) -> None:
        nonlocal found
        loaded = [set(loads(side)) - written for side in (product.a, product.b)]
        found = found or (all(loaded) and loaded[0] != loaded[1])

    tvm_ffi.structural_walk(schedule.get(block).body, (tirx.Mul, visit), order="post")
    return found


def is_move(schedule: s_tir.Schedule, block: Any) -> bool:
    """Return whether the block copies single elements and computes nothing."""
    return isinstance(getattr(schedule.get(block).body, "value", None), TensorLoad)


def loads(expression: Any) -> Counter[Any]:
    """Return the buffers that an expression reads, and in how many places it does."""
    found: Counter[Any] = Counter()

    def visit(load: Any) -> None:
        found[load.source] += 1

    tvm_ffi.structural_walk(expression, (TensorLoad, visit), order="post")
    return found


def cannot_be_cut(schedule: s_tir.Schedule, block: Any) -> bool:
    """Return whether TVM fails to partition loops of a block into a vectorised part and a rest.

    It does where a block reads where another buffer says. Where it writes int64, or chooses
    between two indices, TVM narrows some of the indices to int32 and fails on the others.
    """
    writes = schedule.get(block).writes
    is_int64 = any(str(region.source.dtype) == "int64" for region in writes)
    return is_int64 or _is_indirect(schedule, block)


def _is_indirect(schedule: s_tir.Schedule, block: Any) -> bool:
    found: list[bool] = []

    def visit(load: Any) -> None:
        found.extend(bool(loads(index)) or _chooses(index) for index in load.indices)

    tvm_ffi.structural_walk(schedule.get(block).body, (TensorLoad, visit), order="post")
    return any(found)


def _chooses(index: Any) -> bool:
    """Return whether an index is one or the other, under a condition."""
    found: list[Any] = []
    tvm_ffi.structural_walk(index, (Call, found.append), order="post")
    return bool(found)


def work(func: tirx.PrimFunc) -> int:
    """Return the number of block runs in the whole kernel."""
    schedule = s_tir.Schedule(func)
    return sum(iterations(schedule, block) for block in blocks(schedule))


def macs(func: tirx.PrimFunc) -> int:
    """Return how many products of two tensors the kernel sums."""
    if not is_static(func):
        return 0
    schedule = s_tir.Schedule(func)
    return sum(
        iterations(schedule, block) for block in blocks(schedule) if is_contraction(schedule, block)
    )


def buffer_bytes(param: Any) -> int:
    """Return the size of a kernel's parameter in bytes; 0 if its shape is no number."""
    shape = getattr(param.ty, "shape", None)
    if shape is None or not all(isinstance(size, tirx.IntImm) for size in shape):
        return 0
    dtype = str(getattr(param.ty.dtype, "dtype", param.ty.dtype))
    bits = int(re.sub(r"\D", "", dtype.split("x")[0]) or 8)
    return math.prod(int(size) for size in shape) * max(bits, 8) // 8


def is_static(func: tirx.PrimFunc) -> bool:
    """Return whether every shape is a number and every block has plain loops of its own.

    Operators written by hand in TVM (sort, scatter, ...) are one opaque block; no template
    changes those.
    """
    schedule = s_tir.Schedule(func)
    for block in blocks(schedule):
        statement = schedule.get(block)
        kinds = {var.iter_type for var in statement.iter_vars}
        if not kinds <= {SPATIAL, REDUCTION} or len(statement.writes) != 1:
            return False
        if not all(isinstance(var.dom.extent, tirx.IntImm) for var in statement.iter_vars):
            return False
        if len(schedule.get_loops(block)) != len(statement.iter_vars):
            return False
    return bool(blocks(schedule))


def start_sums(schedule: s_tir.Schedule) -> s_tir.Schedule:
    """Set every sum to its start before its outermost reduction loop, vectorised.

    Call this last. TVM's checks know no block that is half of a reduction, so from here on they
    are off.
    """
    unchecked = s_tir.Schedule(schedule.mod, enable_check=False)
    for name in names(unchecked):
        block = unchecked.get_sblock(name)
        if unchecked.get(block).init is None:
            continue
        first = _outermost_reduction_loop(unchecked, block)
        if first is None:
            continue
        start = unchecked.decompose_reduction(block, first)
        loops = unchecked.get_loops(start)
        if unchecked.get(unchecked.get_loops(block)[-1]).kind == tirx.ForKind.VECTORIZED:
            unchecked.vectorize(loops[-1])
    return unchecked


def _outermost_reduction_loop(schedule: s_tir.Schedule, block: Any) -> Any:
    """Return the first loop around ``block`` that a reduction iterator depends on."""
    realize = next(
        child
        for child in realizes(schedule.mod["main"].body)
        if child.block.name_hint == schedule.get(block).name_hint
    )
    reduction: set[Any] = set()
    for var, value in zip(schedule.get(block).iter_vars, realize.iter_values, strict=True):
        if var.iter_type == REDUCTION:
            tvm_ffi.structural_walk(value, (Var, reduction.add), order="post")
    return next(
        (loop for loop in schedule.get_loops(block) if schedule.get(loop).loop_var in reduction),
        None,
    )


def realizes(body: Any) -> list[Any]:
    """Return the realized blocks in ``body``, the inner ones of nested blocks first."""
    found: list[Any] = []
    tvm_ffi.structural_walk(body, (s_tir.SBlockRealize, found.append), order="post")
    return found
