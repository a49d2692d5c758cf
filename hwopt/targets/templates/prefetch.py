"""Fetching memory before it is needed: the results and the weights of large kernels.

By the next inference they have left all caches. A store to memory that is in no cache waits for it
to be read first, so the lines of a tile of results are asked for before the tile's sums are
computed. Weights are read in an order that the processor does not foresee from one block to the
next, so the next block's are asked for while the present one's are multiplied.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir.expr import TensorLoad, Var

from hwopt.targets.target import Target
from hwopt.targets.templates import analysis

# Results of up to this part of the second cache are still in some cache; weights, which are only
# read, up to all of it.
NEAR_RESULTS = 0.5
LINE_BYTES = 64


@dataclasses.dataclass(frozen=True)
class _Access:
    """An element that a block reads or writes: ``source[indices]``."""

    source: Any
    indices: tuple[Any, ...]
    #: LLVM's hints: 1 to write, 0 to read; 3 for all caches, 2 for all but the first.
    write: int
    locality: int

    def fetch(self, values: dict[Any, Any]) -> tirx.Stmt:
        """Return a prefetch of the element where variables have these values."""
        at = tuple(_substituted(index, values) for index in self.indices)
        hints = [tirx.const(n, "int32") for n in (self.write, self.locality, 1)]
        arguments = [tirx.address_of(self.source[at]), *hints]
        call = tvm.ir.Call(tvm.ir.Op.get("tirx.prefetch"), arguments, ret_ty="void")
        return tirx.Evaluate(call)


def prefetch_result(func: tirx.PrimFunc, sums: str, target: Target) -> tirx.PrimFunc:
    """Let each tile of a scheduled kernel fetch the lines that it will write, if they are many.

    Args:
        func: a kernel whose last block writes tiles of its last parameter.
        sums: name of the block that computes a tile's sums.
        target: the device.
    """
    if analysis.buffer_bytes(func.params[-1]) <= NEAR_RESULTS * target.l2_bytes:
        return func
    last = analysis.names(s_tir.Schedule(func))[-1]
    tile = [loop for loop in _loops(func.body) if {last, f"{sums}_update"} <= _names(loop)][-1]
    realize = _realize(tile, last)
    written = realize.block.writes[0]
    first = tuple(axis.min for axis in written.region)
    return _insert(func, tile, realize, _Access(written.source, first, write=1, locality=3))


def prefetch_weights(
    func: tirx.PrimFunc, sums: str, axis: int, step: int, target: Target
) -> tirx.PrimFunc:
    """Let a scheduled kernel fetch the weights that it will multiply next, if they are many.

    Not for kernels of several threads: in the body of a parallel loop LLVM does not know any more
    that weights and sums are different memory. It takes a prefetch for a possible access to the
    sums, and moves them between registers and memory in every step.

    Args:
        func: the kernel; its weights are a parameter whose last dimension is that of the lanes.
        sums: name of the block that multiplies.
        axis, step: the next weights are ``step`` further in this dimension.
        target: the device.
    """
    realize = _realize(func.body, f"{sums}_update")
    values = _values(realize)
    loads: list[Any] = []
    tvm_ffi.structural_walk(realize.block.body, (TensorLoad, loads.append), order="post")
    constants = func.params[1:-1]
    (weights,) = [load for load in loads if any(load.source.same_as(c) for c in constants)]
    if analysis.buffer_bytes(weights.source) <= target.l2_bytes:
        return func
    channel = values[_reduction(realize)[-1]]
    (loop,) = [found for found in _loops(func.body) if _uses(channel, found.loop_var)]
    indices = [*weights.indices]
    indices[axis] = indices[axis] + step
    return _insert(func, loop, realize, _Access(weights.source, tuple(indices), 0, 2))


def _insert(func: tirx.PrimFunc, around: tirx.For, realize: Any, access: _Access) -> tirx.PrimFunc:
    """Begin each round of a loop by fetching every line that ``access`` touches inside it."""
    values = _values(realize)
    bound = [_substituted(index, values) for index in access.indices]
    access = dataclasses.replace(access, indices=tuple(bound))
    inner = [
        loop
        for loop in _loops(around.body)
        if str(realize.block.name_hint) in _names(loop)
        and any(_uses(index, loop.loop_var) for index in bound)
    ]
    per_line = LINE_BYTES // (tvm.DataType(str(access.source.dtype)).bits // 8)
    steps = [per_line if loop.kind == tirx.ForKind.VECTORIZED else 1 for loop in inner]
    places = [range(0, int(loop.extent), step) for loop, step in zip(inner, steps, strict=True)]
    fetches = [
        access.fetch({loop.loop_var: n for loop, n in zip(inner, place, strict=True)})
        for place in itertools.product(*places)
    ]

    def insert(loop: tirx.For) -> tirx.For:
        if not loop.loop_var.same_as(around.loop_var):
            return loop
        body = tirx.stmt_seq(*fetches, loop.body)
        rest = (loop.thread_binding, loop.annotations)
        return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, *rest)

    return func.with_body(tvm_ffi.structural_map(func.body, (tirx.For, insert)))


def _values(realize: Any) -> dict[Any, Any]:
    """Return what a block's own variables stand for, in terms of the loops around it."""
    variables = [iterator.var for iterator in realize.block.iter_vars]
    return dict(zip(variables, realize.iter_values, strict=True))


def _reduction(realize: Any) -> list[Any]:
    iterators = realize.block.iter_vars
    return [iterator.var for iterator in iterators if iterator.iter_type == analysis.REDUCTION]


def _substituted(expression: Any, values: dict[Any, Any]) -> Any:
    def replace(var: Any) -> Any:
        value = values.get(var, var)
        return tirx.const(value, var.ty.dtype) if isinstance(value, int) else value

    return tvm_ffi.structural_map(expression, (Var, replace))


def _uses(expression: Any, var: Any) -> bool:
    found: set[Any] = set()
    tvm_ffi.structural_walk(expression, (Var, found.add), order="post")
    return var in found


def _loops(body: Any) -> list[tirx.For]:
    """Return the loops in ``body``, outer ones first."""
    found: list[tirx.For] = []
    tvm_ffi.structural_walk(body, (tirx.For, found.append), order="pre")
    return found


def _realize(body: Any, name: str) -> Any:
    (realize,) = [found for found in analysis.realizes(body) if found.block.name_hint == name]
    return realize


def _names(body: Any) -> set[str]:
    return {str(realize.block.name_hint) for realize in analysis.realizes(body)}
