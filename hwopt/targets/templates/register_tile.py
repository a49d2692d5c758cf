"""Convolutions and matrix products with constant weights: a tile of sums kept in registers.

The weights are packed at compile time as ``[block, ..., v]``: blocks of ``v`` output channels,
so that one vector load reads the weights of ``v`` neighbouring channels. Channels that do not
fill the last block are padded with zeros inside the packed weights and the sums only: the
activations keep their exact shape.

The scheduled loops, outermost first: chunks of output rows or of channel blocks (in parallel),
the padded input of one chunk, tiles of (channel blocks, rows, columns), the reduction, and inside
it the tile's sums, unrolled and vectorised. What follows the sum (bias, residual, activation) is
applied to the finished tile before it is stored. Where channels do not fill their blocks, the
tiles of one chunk are stored first and what follows is applied to the whole chunk: a partly
filled vector inside the tile would turn all of it into scalar code.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import s_tir, tirx
from tvm.ir.expr import Var

from hwopt.targets import tvm_build
from hwopt.targets.target import Target
from hwopt.targets.templates import analysis
from hwopt.targets.templates.base import Config
from hwopt.targets.templates.loops import inline_maps
from hwopt.targets.templates.padding import BITS, PADDED, pad_inside
from hwopt.targets.templates.prefetch import prefetch_result
from hwopt.targets.templates.register_tile_space import (
    BINARY,
    DEPTHWISE,
    DIFFERENCES,
    FEW_INPUTS,
    SUMS,
    WORD_BITS,
    Shape,
    as_three,
    configs,
)

# Larger windows of depthwise convolutions are unrolled in one dimension only.
UNROLLED_WINDOW = 9


def lanes_for(channels: int, target: Target) -> int:
    """Return the block length ``v`` that wastes least on ``channels`` output channels.

    Half and quarter vectors are considered, at a price: they need more instructions.
    """
    full = target.float_lanes
    price = {full: 1.0, full // 2: 1.15, full // 4: 1.6}
    lanes = [length for length in price if length >= 4] or [full]
    return min(lanes, key=lambda length: math.ceil(channels / length) * length * price[length])


class RegisterTile:
    """The schedule described above, for kernels made by the legalizations of this package."""

    name = "register-tile"

    def matches(self, func: tirx.PrimFunc, target: Target) -> bool:
        """Accept kernels with a packed sum whose result keeps its shape to the end."""
        return Shape.of(func) is not None

    def space(self, func: tirx.PrimFunc, target: Target) -> list[Config]:
        """List tile sizes that fit the registers, likely best first."""
        return configs(_shape(func), target)

    def schedule(self, func: tirx.PrimFunc, config: Config, target: Target) -> tirx.PrimFunc:
        """Tile, order, unroll and vectorise as the module describes."""
        shape = _shape(func)
        schedule = s_tir.Schedule(func)
        inline_maps(schedule, keep=(PADDED, BITS, DIFFERENCES, shape.sums))
        last = schedule.get_sblock(analysis.names(schedule)[-1])
        if shape.exact:
            outer, tile_loop = tile_result(schedule, last, shape, config)
        else:
            outer, tile_loop = _tile_sums(schedule, last, shape, config, target)
        if shape.width > 1:
            _keep_map_in_registers(schedule, DIFFERENCES, tile_loop)
        keep_in_registers(schedule, shape.sums, tile_loop)
        pad_inside(schedule, outer)
        if config["parallel"]:
            schedule.parallel(outer)
        scheduled = tvm_build.mark_scheduled(analysis.start_sums(schedule))
        return prefetch_result(scheduled, shape.sums, target) if shape.exact else scheduled

    def macs(self, func: tirx.PrimFunc) -> int:
        """Count the channels that there are, not those that fill the last block.

        Of binary kernels the bits of a word that are channels are counted.
        """
        shape = _shape(func)
        products = _products_of_bits(func, shape) if shape.sums == BINARY else shape.steps
        return shape.batch * shape.rows * shape.columns * shape.channels * products


def can_read_through(first: tirx.PrimFunc, second: tirx.PrimFunc) -> bool:
    """Return whether ``second`` can read what ``first`` only moves from where it was.

    Copying it into a padded input can change the layout on the way. Sums over few channels copy
    nothing, but read one value at a time, wherever that is.
    """
    moved, reading = s_tir.Schedule(first), s_tir.Schedule(second)
    mover = analysis.blocks(moved)
    if len(mover) != 1 or len(first.params) != 2 or analysis.is_reduction(moved, mover[0]):
        return False
    source = second.params[0]
    readers = [
        str(reading.get(block).name_hint)
        for block in analysis.blocks(reading)
        if any(region.source.name == source.name for region in reading.get(block).reads)
    ]
    few = int(source.ty.shape[-1]) <= FEW_INPUTS
    # What is more than a move would be computed anew for every sum.
    return readers == [PADDED] or (readers == [SUMS] and few and analysis.is_move(moved, mover[0]))


def can_take_along(first: tirx.PrimFunc, second: tirx.PrimFunc) -> bool:
    """Return whether ``second`` maps what ``first`` sums, pixel by pixel, and reads more beside it.

    TVM's own fusion sees to maps whose other operands have the shape of the sums or broadcast.
    """
    if Shape.of(first) is None or not analysis.is_static(second):
        return False
    mapping, source = s_tir.Schedule(second), second.params[0]
    for block in analysis.blocks(mapping):
        if analysis.is_reduction(mapping, block):
            return False
        statement = mapping.get(block)
        place = [var.var for var in statement.iter_vars]
        for region in statement.reads:
            if region.source.name == source.name:
                starts = [extent.min for extent in region.region]
                if len(starts) != len(place) or not all(map(Var.same_as, place, starts)):
                    return False
    return bool(second.params[-1].ty.shape == first.params[-1].ty.shape)


def tile_result(
    schedule: s_tir.Schedule, last: Any, shape: Shape, config: Config
) -> tuple[Any, Any]:
    """Tile the last block itself; returns the parallel loop and the loop over tiles."""
    batch, row, column, channel = _four_loops(schedule, last)
    by_blocks = config["by_blocks"]
    chunk, row = schedule.split(row, [1 if by_blocks else config["chunks"], None])
    row_tile, row = cut(schedule, row, config["rows"])
    column_tile, column = cut(schedule, column, config["columns"])
    tile_channels = config["blocks"] * shape.lanes
    block_tile, channel = schedule.split(channel, [None, tile_channels // shape.width])
    schedule.reorder(batch, chunk, block_tile, row_tile, column_tile, row, column, channel)
    outer = schedule.fuse(batch, chunk, *([block_tile] if by_blocks else []))
    if shape.width == 1:
        schedule.vectorize(channel)
    else:
        schedule.unroll(channel)
    schedule.unroll(row)
    schedule.unroll(column)
    return outer, column_tile


def _tile_sums(
    schedule: s_tir.Schedule, last: Any, shape: Shape, config: Config, target: Target
) -> tuple[Any, Any]:
    """Tile a copy of the sums, and run the last block over each chunk of it."""
    batch, row, column, channel = _four_loops(schedule, last)
    chunk, row = schedule.split(row, [config["chunks"], None])
    schedule.reorder(batch, chunk, row, column, channel)
    outer = schedule.fuse(batch, chunk)
    if shape.one_group:
        _, vector = cut(schedule, channel, min(target.float_lanes, shape.channels))
        schedule.vectorize(vector)
    copy = schedule.cache_write(schedule.get_sblock(shape.sums), 0, "local")
    schedule.compute_at(copy, outer, preserve_unit_loops=True)
    row, column, block, lane = schedule.get_loops(copy)[-4:]
    row_tile, row = cut(schedule, row, config["rows"])
    column_tile, column = cut(schedule, column, config["columns"])
    block_tile, block = cut(schedule, block, config["blocks"])
    schedule.reorder(block_tile, row_tile, column_tile, row, column, block, lane)
    schedule.vectorize(lane)
    for loop in (row, column, block):
        schedule.unroll(loop)
    return outer, column_tile


def _four_loops(schedule: s_tir.Schedule, block: Any) -> list[Any]:
    """Return loops over batch, rows, columns and channels, new ones of length 1 where absent."""
    *leading, channel = schedule.get_loops(block)
    three = as_three(leading, unit=None)
    units = [schedule.add_unit_loop(block) for loop in three if loop is None]
    return [loop if loop is not None else units.pop() for loop in three] + [channel]


def keep_in_registers(schedule: s_tir.Schedule, name: str, tile_loop: Any) -> None:
    """Compute the sums of one tile in local memory, the reduction outside of the tile."""
    sums = schedule.get_sblock(name)
    schedule.compute_at(sums, tile_loop, preserve_unit_loops=True)
    schedule.set_scope(sums, 0, "local")
    kinds = [var.iter_type for var in schedule.get(sums).iter_vars]
    loops = schedule.get_loops(sums)[-len(kinds) :]
    reduction = [
        loop for loop, kind in zip(loops, kinds, strict=True) if kind == analysis.REDUCTION
    ]
    spatial = loops[1 : len(kinds) - len(reduction)]
    schedule.reorder(*reduction, *spatial)
    schedule.vectorize(spatial[-1])
    for loop in spatial[:-1]:
        schedule.unroll(loop)
    if name == DEPTHWISE:
        unroll_window(schedule, *reduction)
    elif len(reduction) == 3 and int(schedule.get(reduction[-1]).extent) <= FEW_INPUTS:
        schedule.unroll(reduction[1])
    elif len(reduction) == 2:  # words of codes, and the codes in a word
        schedule.unroll(reduction[-1])


def _keep_map_in_registers(schedule: s_tir.Schedule, name: str, tile_loop: Any) -> None:
    """Compute what is one to one with the sums in local memory, too."""
    block = schedule.get_sblock(name)
    schedule.compute_at(block, tile_loop, preserve_unit_loops=True)
    schedule.set_scope(block, 0, "local")
    *loops, lane = schedule.get_loops(block)[-4:]
    schedule.vectorize(lane)
    for loop in loops:
        schedule.unroll(loop)


def unroll_window(schedule: s_tir.Schedule, ky: Any, kx: Any) -> None:
    """Unroll the window of a depthwise convolution, so that it is known what is in the padding."""
    schedule.unroll(kx)
    extents = [int(schedule.get(loop).extent) for loop in (ky, kx)]
    if math.prod(extents) <= UNROLLED_WINDOW:
        schedule.unroll(ky)


def cut(schedule: s_tir.Schedule, loop: Any, length: int) -> tuple[Any, Any]:
    """Split ``loop`` into pieces of ``length``; a shorter last piece becomes code of its own."""
    extent = int(schedule.get(loop).extent)
    pieces, piece = schedule.split(loop, [None, length])
    if extent % length:
        schedule.annotate(pieces, tvm_build.PARTITION, True)
    return pieces, piece


def _products_of_bits(func: tirx.PrimFunc, shape: Shape) -> int:
    """Return how many products of signs one sum has."""
    schedule = s_tir.Schedule(func)
    if BITS in analysis.names(schedule):
        bits = schedule.get(schedule.get_sblock(BITS))
        words, source = int(bits.iter_vars[-1].dom.extent), bits.reads[0].source
        if source.ty.dtype.dtype == "float32":
            return shape.steps // words * int(source.ty.shape[-1])
    return shape.steps * WORD_BITS


def _shape(func: tirx.PrimFunc) -> Shape:
    shape = Shape.of(func)
    if shape is None:
        raise ValueError("the kernel has no packed sum: ask matches() first")
    return shape
