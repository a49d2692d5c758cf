"""Fetching the memory of a result before it is written.

A result that is larger than the second cache has left all caches by the next inference, and a store
to memory that is in no cache waits for it to be read first. So the lines of a tile are asked for
before its sums are computed, which takes longer than they need to arrive.
"""

from __future__ import annotations

import itertools
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir.expr import Var

from hwopt.targets.target import Target
from hwopt.targets.templates import analysis

# Smaller results find their memory in a cache: part of the second one, above which they leave it.
SMALLEST_SHARE_OF_L2 = 0.5
LINE_BYTES = 64
_TO_WRITE, _KEEP_IN_ALL_CACHES, _DATA = 1, 3, 1


def prefetch_result(func: tirx.PrimFunc, sums: str, target: Target) -> tirx.PrimFunc:
    """Let each tile of a scheduled kernel fetch the lines that it will write, if they are many.

    Args:
        func: a kernel whose last block writes tiles of its last parameter.
        sums: name of the block that computes a tile's sums.
        target: the device.
    """
    result = func.params[-1]
    if analysis.buffer_bytes(result) < SMALLEST_SHARE_OF_L2 * target.l2_bytes:
        return func
    name = analysis.names(s_tir.Schedule(func))[-1]
    tile = [loop for loop in _loops(func.body) if {name, f"{sums}_update"} <= _names(loop)][-1]
    fetches = _fetches(tile, name)

    def insert(loop: tirx.For) -> tirx.For:
        if not loop.loop_var.same_as(tile.loop_var):
            return loop
        body = tirx.stmt_seq(*fetches, loop.body)
        rest = (loop.thread_binding, loop.annotations)
        return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, *rest)

    return func.with_body(tvm_ffi.structural_map(func.body, (tirx.For, insert)))


def _fetches(tile: tirx.For, name: str) -> list[tirx.Stmt]:
    """Return a prefetch of each line that the block called ``name`` writes inside ``tile``."""
    (realize,) = [found for found in _realizes(tile) if found.block.name_hint == name]
    values = {
        iterator.var: value
        for iterator, value in zip(realize.block.iter_vars, realize.iter_values, strict=True)
    }
    written = realize.block.writes[0]
    inner = [loop for loop in _loops(tile.body) if name in _names(loop)]
    per_line = LINE_BYTES // (tvm.DataType(str(written.source.dtype)).bits // 8)
    steps = [per_line if loop.kind == tirx.ForKind.VECTORIZED else 1 for loop in inner]
    places = [range(0, int(loop.extent), step) for loop, step in zip(inner, steps, strict=True)]
    fetches = []
    for place in itertools.product(*places):
        at = {loop.loop_var: n for loop, n in zip(inner, place, strict=True)}
        first = [_substituted(_substituted(axis.min, values), at) for axis in written.region]
        address = tirx.address_of(written.source[tuple(first)])
        hints = [tirx.const(n, "int32") for n in (_TO_WRITE, _KEEP_IN_ALL_CACHES, _DATA)]
        call = tvm.ir.Call(tvm.ir.Op.get("tirx.prefetch"), [address, *hints], ret_ty="void")
        fetches.append(tirx.Evaluate(call))
    return fetches


def _substituted(expression: Any, values: dict[Any, Any]) -> Any:
    def replace(var: Any) -> Any:
        value = values.get(var, var)
        return tirx.const(value, var.ty.dtype) if isinstance(value, int) else value

    return tvm_ffi.structural_map(expression, (Var, replace))


def _loops(body: Any) -> list[tirx.For]:
    """Return the loops in ``body``, outer ones first."""
    found: list[tirx.For] = []
    tvm_ffi.structural_walk(body, (tirx.For, found.append), order="pre")
    return found


def _realizes(body: Any) -> list[Any]:
    found: list[Any] = []
    tvm_ffi.structural_walk(body, (s_tir.SBlockRealize, found.append), order="pre")
    return found


def _names(body: Any) -> set[str]:
    return {str(realize.block.name_hint) for realize in _realizes(body)}
