"""The schedule of Winograd convolutions: transform a chunk, multiply in registers, transform back.

The scheduled loops, outermost first. By rows: chunks of tile rows (in parallel), the padded and
transformed input of one chunk, groups of channel blocks, the sums of one group, and their
transformation to results, with all that follows in the model. By blocks, for small images with
many channels: the whole input is transformed first (in parallel), then groups of channel blocks run
in parallel, so that each thread reads its own part of the weights.

The sums of one point of the transformed tiles are a matrix product; a tile of them stays in
registers, as in ``register_tile``. Between their two steps, transformations stay in registers too,
or where there are not enough in the first cache.
"""

from __future__ import annotations

from typing import Any

from tvm import s_tir, tirx

from hwopt.targets import tvm_build
from hwopt.targets.target import Target
from hwopt.targets.templates import analysis
from hwopt.targets.templates.base import Config
from hwopt.targets.templates.loops import inline_maps
from hwopt.targets.templates.padding import PADDED, pad_inside
from hwopt.targets.templates.prefetch import prefetch_weights
from hwopt.targets.templates.register_tile import cut
from hwopt.targets.templates.winograd import (
    INPUT_ROWS,
    RESULT_ROWS,
    SUMS,
    TRANSFORMED,
)
from hwopt.targets.templates.winograd_space import Sizes, configs


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
        inline_maps(schedule, keep=(PADDED, INPUT_ROWS, TRANSFORMED, SUMS, RESULT_ROWS))
        last = schedule.get_sblock(analysis.names(schedule)[-1])
        tile = _tile_result if sizes.exact else _tile_rest
        outer, group = tile(schedule, last, sizes, config)
        _multiply(schedule, group, config)
        _transform_input(schedule, None if config["by_blocks"] else outer, sizes, config)
        scheduled = tvm_build.mark_scheduled(analysis.start_sums(schedule))
        if config["parallel"]:
            return scheduled
        return prefetch_weights(scheduled, SUMS, axis=1, step=1, target=target)

    def macs(self, func: tirx.PrimFunc) -> int:
        """Count those of the direct sum: nine for each result and input channel."""
        schedule = s_tir.Schedule(func)
        last = schedule.get_sblock(analysis.names(schedule)[-1])
        return analysis.iterations(schedule, last) * 9 * int(func.params[0].ty.shape[-1])


def _tile_result(
    schedule: s_tir.Schedule, last: Any, sizes: Sizes, config: Config
) -> tuple[Any, Any]:
    """Tile the last block; returns the parallel loop and the one around the sums of a group."""
    batch, chunk, tile_row, tile_column, row, column, channel = _split_tiles(
        schedule, last, sizes, config
    )
    group, block, lane = schedule.split(channel, [None, config["blocks"], sizes.lanes])
    inner = (tile_row, tile_column, block, row, column, lane)
    if config["by_blocks"]:
        schedule.reorder(batch, group, chunk, *inner)
        outer, around = schedule.fuse(batch, group), chunk
    else:
        schedule.reorder(batch, chunk, group, *inner)
        outer, around = schedule.fuse(batch, chunk), group
    _transform_rows(schedule, RESULT_ROWS, block)
    for loop in (row, column):
        schedule.unroll(loop)
    schedule.vectorize(lane)
    if config["parallel"]:
        schedule.parallel(outer)
    return outer, around


def _split_tiles(
    schedule: s_tir.Schedule, last: Any, sizes: Sizes, config: Config
) -> tuple[Any, ...]:
    """Return loops over batch, chunks, tile rows and columns, inside a tile, and channels."""
    batch, row, column, channel = schedule.get_loops(last)
    tile_row, row = schedule.split(row, [None, sizes.tile])
    tile_column, column = schedule.split(column, [None, sizes.tile])
    chunk, tile_row = schedule.split(tile_row, [None, config["chunk_rows"]])
    return batch, chunk, tile_row, tile_column, row, column, channel


def _tile_rest(
    schedule: s_tir.Schedule, last: Any, sizes: Sizes, config: Config
) -> tuple[Any, Any]:
    """Tile the last block where its channels end inside a block: all sums of a chunk come first."""
    batch, chunk, tile_row, tile_column, row, column, channel = _split_tiles(
        schedule, last, sizes, config
    )
    schedule.reorder(batch, chunk, tile_row, tile_column, row, column, channel)
    outer = schedule.fuse(batch, chunk)
    _transform_rows(schedule, RESULT_ROWS, tile_column)
    _, lane = cut(schedule, channel, min(sizes.lanes, sizes.channels))
    schedule.vectorize(lane)
    for loop in (row, column):
        schedule.unroll(loop)
    if config["parallel"]:
        schedule.parallel(outer)
    return outer, outer


def _multiply(schedule: s_tir.Schedule, group: Any, config: Config) -> None:
    """Sum the products of one group of channel blocks, a tile of sums at a time."""
    sums = schedule.get_sblock(SUMS)
    copy = schedule.cache_write(sums, 0, "global")
    schedule.compute_at(copy, group, preserve_unit_loops=True)
    _, row, a, b, column, block, lane = schedule.get_loops(copy)[-7:]
    row_tile, row = cut(schedule, row, config["rows"])
    column_tile, column = cut(schedule, column, config["columns"])
    block_tile, block = cut(schedule, block, config["blocks"])
    schedule.reorder(a, b, block_tile, row_tile, column_tile, row, column, block, lane)
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


def _transform_input(
    schedule: s_tir.Schedule, chunk: Any | None, sizes: Sizes, config: Config
) -> None:
    """Transform the input, of one chunk inside its loop or of the whole image before all loops."""
    transformed = schedule.get_sblock(TRANSFORMED)
    if chunk is not None:
        schedule.compute_at(transformed, chunk, preserve_unit_loops=True)
    batch, row, a, b, column, channel = schedule.get_loops(transformed)[-6:]
    block, lane = schedule.split(channel, [None, sizes.input_lanes])
    schedule.reorder(batch, row, column, block, b, a, lane)
    _transform_rows(schedule, INPUT_ROWS, block)
    for loop in (a, b):
        schedule.unroll(loop)
    schedule.vectorize(lane)
    outer = schedule.fuse(batch, row) if chunk is None else chunk
    if chunk is None and config["parallel"]:
        schedule.parallel(outer)
    pad_inside(schedule, outer)


def _transform_rows(schedule: s_tir.Schedule, name: str, loop: Any) -> None:
    """Compute the first half of a transformation inside ``loop``: vectorised and unrolled."""
    rows = schedule.get_sblock(name)
    schedule.compute_at(rows, loop)
    schedule.set_scope(rows, 0, "local")
    variables = [schedule.get(outer).loop_var for outer in schedule.get_loops(rows)]
    inside = schedule.get_loops(rows)[variables.index(schedule.get(loop).loop_var) + 1 :]
    schedule.vectorize(inside[-1])
    for unrolled in inside[:-1]:
        schedule.unroll(unrolled)


def _sizes(func: tirx.PrimFunc) -> Sizes:
    sizes = Sizes.of(func)
    if sizes is None:
        raise ValueError("the kernel is no Winograd convolution: ask matches() first")
    return sizes
