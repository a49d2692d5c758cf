"""The schedule of Winograd convolutions: transform a chunk, multiply in registers, transform back.

The scheduled loops, outermost first. By rows: chunks of tile rows (in parallel), the padded and
transformed input of one chunk, groups of channel blocks, the sums of one group, and their
transformation to results, with all that follows in the model. By blocks, for small images with
many channels: the whole input is transformed first (in parallel), then groups of channel blocks run
in parallel, so that each thread reads its own part of the weights.

The sums of one of the sixteen points are a matrix product; a tile of them stays in registers, as
in ``register_tile``.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

from tvm import s_tir, tirx

from hwopt.targets import tvm_build
from hwopt.targets.target import Target
from hwopt.targets.templates import analysis
from hwopt.targets.templates.base import Config
from hwopt.targets.templates.loops import inline_maps
from hwopt.targets.templates.padding import PADDED
from hwopt.targets.templates.register_tile import cut
from hwopt.targets.templates.register_tile_space import BUSY_SUMS, LARGEST_TILE
from hwopt.targets.templates.winograd import POINTS, SUMS, TILE, TRANSFORMED

MOST_CANDIDATES = 48
# Vector operations that one input tile, and one tile of results, cost beside the products.
INPUT_COST, OUTPUT_COST = 80, 60


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of a kernel: tiles, input channels, and blocks of output channels."""

    batch: int
    rows: int
    columns: int
    inputs: int
    blocks: int
    lanes: int

    @classmethod
    def of(cls, func: tirx.PrimFunc) -> Sizes | None:
        """Read the sizes off an unscheduled kernel; None if it is no Winograd convolution."""
        schedule = s_tir.Schedule(func)
        names = analysis.names(schedule)
        if SUMS not in names or len(schedule.get_loops(schedule.get_sblock(names[-1]))) != 4:
            return None
        extents = [int(v.dom.extent) for v in schedule.get(schedule.get_sblock(SUMS)).iter_vars]
        batch, rows, _, _, columns, blocks, lanes, inputs = extents
        return cls(batch, rows, columns, inputs, blocks, lanes)


class Winograd:
    """The schedule described above."""

    name = "winograd"

    def matches(self, func: tirx.PrimFunc, target: Target) -> bool:
        """Accept kernels whose sums are those of :mod:`winograd`."""
        return Sizes.of(func) is not None

    def space(self, func: tirx.PrimFunc, target: Target) -> list[Config]:
        """List tiles that fit the registers and chunks that fit the caches, likely best first."""
        return configs(_sizes(func), target)

    def schedule(self, func: tirx.PrimFunc, config: Config, target: Target) -> tirx.PrimFunc:
        """Tile, order, unroll and vectorise as the module describes."""
        sizes = _sizes(func)
        schedule = s_tir.Schedule(func)
        inline_maps(schedule, keep=(PADDED, TRANSFORMED, SUMS))
        last = schedule.get_sblock(analysis.names(schedule)[-1])
        outer, group = _tile_result(schedule, last, sizes, config)
        _multiply(schedule, group, config)
        _transform_input(schedule, None if config["by_blocks"] else outer, sizes)
        return tvm_build.mark_scheduled(analysis.start_sums(schedule))

    def macs(self, func: tirx.PrimFunc) -> int:
        """Count those of the direct sum: nine for each result and input channel."""
        schedule = s_tir.Schedule(func)
        last = schedule.get_sblock(analysis.names(schedule)[-1])
        return analysis.iterations(schedule, last) * 9 * _sizes(func).inputs


def _tile_result(
    schedule: s_tir.Schedule, last: Any, sizes: Sizes, config: Config
) -> tuple[Any, Any]:
    """Tile the last block; returns the parallel loop and the one around the sums of a group."""
    batch, row, column, channel = schedule.get_loops(last)
    tile_row, row = schedule.split(row, [None, TILE])
    tile_column, column = schedule.split(column, [None, TILE])
    chunk, tile_row = schedule.split(tile_row, [None, config["chunk_rows"]])
    group, block, lane = schedule.split(channel, [None, config["blocks"], sizes.lanes])
    inner = (tile_row, tile_column, block, row, column, lane)
    if config["by_blocks"]:
        schedule.reorder(batch, group, chunk, *inner)
        outer, around = schedule.fuse(batch, group), chunk
    else:
        schedule.reorder(batch, chunk, group, *inner)
        outer, around = schedule.fuse(batch, chunk), group
    local = schedule.cache_read(last, _read_index(schedule, last, SUMS), "local")
    schedule.compute_at(local, block)
    _unroll_vectors(schedule, schedule.get_loops(local)[-_depth(schedule, local, block) :])
    for loop in (row, column):
        schedule.unroll(loop)
    schedule.vectorize(lane)
    if config["parallel"]:
        schedule.parallel(outer)
    return outer, around


def _multiply(schedule: s_tir.Schedule, group: Any, config: Config) -> None:
    """Sum the products of one group of channel blocks, a tile of sums at a time."""
    sums = schedule.get_sblock(SUMS)
    copy = schedule.cache_write(sums, 0, "global")
    schedule.compute_at(copy, group, preserve_unit_loops=True)
    _, row, a, b, column, block, lane = schedule.get_loops(copy)[-7:]
    row_tile, row = cut(schedule, row, config["rows"])
    column_tile, column = cut(schedule, column, config["columns"])
    schedule.reorder(a, b, row_tile, column_tile, row, column, block, lane)
    schedule.vectorize(lane)
    for loop in (row, column, block):
        schedule.unroll(loop)
    schedule.compute_at(sums, column_tile, preserve_unit_loops=True)
    schedule.set_scope(sums, 0, "local")
    _, row, _, _, column, block, lane, channel = schedule.get_loops(sums)[-8:]
    schedule.reorder(channel, row, column, block, lane)
    schedule.vectorize(lane)
    for loop in (row, column, block):
        schedule.unroll(loop)


def _transform_input(schedule: s_tir.Schedule, chunk: Any | None, sizes: Sizes) -> None:
    """Transform the input, of one chunk inside its loop or of the whole image in parallel."""
    transformed = schedule.get_sblock(TRANSFORMED)
    if chunk is not None:
        schedule.compute_at(transformed, chunk, preserve_unit_loops=True)
    batch, row, a, b, column, channel = schedule.get_loops(transformed)[-6:]
    block, lane = schedule.split(channel, [None, sizes.lanes])
    schedule.reorder(batch, row, column, block, a, b, lane)
    local = schedule.cache_read(transformed, 0, "local")
    schedule.compute_at(local, block)
    _unroll_vectors(schedule, schedule.get_loops(local)[-_depth(schedule, local, block) :])
    for loop in (a, b):
        schedule.unroll(loop)
    schedule.vectorize(lane)
    outer = schedule.fuse(batch, row) if chunk is None else chunk
    if chunk is None:
        schedule.parallel(outer)
    if PADDED in analysis.names(schedule):
        padded = schedule.get_sblock(PADDED)
        schedule.compute_at(padded, outer)
        schedule.vectorize(schedule.get_loops(padded)[-1])


def _unroll_vectors(schedule: s_tir.Schedule, loops: list[Any]) -> None:
    """Vectorise the innermost loop and unroll the others."""
    *others, lane = loops
    schedule.vectorize(lane)
    for loop in others:
        schedule.unroll(loop)


def _depth(schedule: s_tir.Schedule, block: Any, loop: Any) -> int:
    """Return how many loops stand around ``block`` inside ``loop``."""
    variables = [schedule.get(outer).loop_var for outer in schedule.get_loops(block)]
    return len(variables) - 1 - variables.index(schedule.get(loop).loop_var)


def _read_index(schedule: s_tir.Schedule, block: Any, name: str) -> int:
    """Return the position, among the buffers that ``block`` reads, of the one called ``name``."""
    reads = [region.source.name for region in schedule.get(block).reads]
    return reads.index(name)


def configs(sizes: Sizes, target: Target) -> list[Config]:
    """Return tilings, the cheapest by the model first.

    ``rows``, ``columns``, ``blocks``: tiles in registers. ``chunk_rows``: tile rows transformed at
    once. ``by_blocks``: whether groups of channel blocks run in parallel instead of chunks.
    """
    found: list[tuple[float, Config]] = []
    tiles = itertools.product((1, 2, 4), range(1, sizes.columns + 1), range(1, 7))
    for rows, columns, blocks in tiles:
        count = rows * columns * blocks
        fits = count <= LARGEST_TILE and count + blocks + 1 <= target.vector_registers
        if rows > sizes.rows or sizes.blocks % blocks or not fits:
            continue
        for by_blocks, chunk_rows in _partitions(sizes, rows, blocks, target):
            config = {
                "rows": rows,
                "columns": columns,
                "blocks": blocks,
                "chunk_rows": chunk_rows,
                "by_blocks": by_blocks,
                "parallel": int(target.threads > 1),
            }
            found.append((_cost(sizes, config, target), config))
    found.sort(key=lambda item: item[0])
    return [config for _, config in found[:MOST_CANDIDATES]]


def _partitions(sizes: Sizes, rows: int, blocks: int, target: Target) -> list[tuple[int, int]]:
    """Return ways to share the work: (by blocks?, tile rows in a chunk)."""
    divisors = [n for n in range(rows, sizes.rows + 1) if sizes.rows % n == 0]
    found = [(0, n) for n in divisors if sizes.batch * sizes.rows // n >= target.threads]
    if sizes.batch * sizes.blocks // blocks >= target.threads:
        found.append((1, sizes.rows))
    return found or [(0, sizes.rows)]


def _cost(sizes: Sizes, config: Config, target: Target) -> float:
    """Estimate the time in vector multiply-adds of one thread."""
    rows, columns, blocks = config["rows"], config["columns"], config["blocks"]
    count = rows * columns * blocks
    loads = (rows * columns + blocks) / count
    chunks = sizes.rows // config["chunk_rows"]
    tiles = chunks * _round_up(config["chunk_rows"], rows) * _round_up(sizes.columns, columns)
    busy = max(1.0, BUSY_SUMS / count)
    products = POINTS**2 * tiles * sizes.blocks * sizes.inputs * busy * (1 + loads / 4)
    vectors = math.ceil(sizes.inputs / sizes.lanes)
    transforms = sizes.rows * sizes.columns * (vectors * INPUT_COST + sizes.blocks * OUTPUT_COST)
    # What one chunk keeps between the steps should stay in the second cache.
    points = POINTS**2 * config["chunk_rows"] * sizes.columns * sizes.lanes * 4
    spilled = points * (vectors + blocks) > target.l2_bytes
    parts = sizes.batch * (sizes.blocks // blocks if config["by_blocks"] else chunks)
    share = math.ceil(parts / target.threads) / parts
    return (products + transforms * (2 if spilled else 1)) * share * sizes.batch


def _round_up(size: int, step: int) -> int:
    return math.ceil(size / step) * step


def _sizes(func: tirx.PrimFunc) -> Sizes:
    sizes = Sizes.of(func)
    if sizes is None:
        raise ValueError("the kernel is no Winograd convolution: ask matches() first")
    return sizes
