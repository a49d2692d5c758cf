"""A depthwise convolution and the 1x1 convolution that reads it, as one kernel.

The result of the first is computed for one chunk of rows at a time and stays in the core's cache,
where the second reads it: one pass over memory and one wake-up of the threads less. The second is
tiled as in ``register_tile``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from tvm import s_tir, tirx

from hwopt.targets import tvm_build
from hwopt.targets.target import Target
from hwopt.targets.templates import analysis
from hwopt.targets.templates.base import Config
from hwopt.targets.templates.loops import inline_maps
from hwopt.targets.templates.padding import PADDED, pad_inside
from hwopt.targets.templates.prefetch import prefetch_result, prefetch_weights
from hwopt.targets.templates.register_tile import cut, keep_in_registers, tile_result, unroll_window
from hwopt.targets.templates.register_tile_space import DEPTHWISE, SUMS, Shape, configs

# The 1x1 weights are read once a chunk. If they are larger than this share of the second cache,
# each thread gets few chunks only.
LARGEST_SHARE_OF_L2 = 0.5
FEW_CHUNKS = 2
# Columns of the depthwise tile, for which there are registers even with 16 of them: the most that
# divide the columns of the result, or else the least of these, and a rest.
DEPTHWISE_COLUMNS = (4, 5, 6, 7, 8)


def can_follow(first: tirx.PrimFunc, second: tirx.PrimFunc, target: Target) -> bool:
    """Return whether two unscheduled kernels, the second reading the first, fit this template."""
    depthwise = Shape.of(first)
    if depthwise is None or depthwise.sums != DEPTHWISE:
        return False
    pointwise = Shape.of(second)
    if pointwise is None:
        return False
    merged = dataclasses.replace(pointwise, padded=depthwise.padded, between=depthwise.channels)
    return (
        pointwise.sums == SUMS
        and depthwise.exact
        and pointwise.exact
        and pointwise.steps == depthwise.channels
        and not pointwise.padded
        and _sums_first_parameter(second)
        and (pointwise.rows, pointwise.columns) == (depthwise.rows, depthwise.columns)
        and bool(_configs(merged, target))
    )


def _configs(shape: Shape, target: Target) -> list[Config]:
    """Return the tiles of the second convolution that share its work by rows."""
    weights = 4 * shape.blocks * shape.lanes * shape.steps
    small = weights <= LARGEST_SHARE_OF_L2 * target.l2_bytes
    most = shape.rows if small else FEW_CHUNKS * target.threads
    found = configs(shape, target)
    return [config for config in found if not config["by_blocks"] and config["chunks"] <= most]


def _sums_first_parameter(func: tirx.PrimFunc) -> bool:
    """Return whether the kernel's sums read its first parameter, and not its epilogue alone."""
    schedule = s_tir.Schedule(func)
    reads = [region.source.name for region in schedule.get(schedule.get_sblock(SUMS)).reads]
    return func.params[0].name in reads


class Separable:
    """The schedule described above."""

    name = "depthwise-separable"

    def matches(self, func: tirx.PrimFunc, target: Target) -> bool:
        """Accept kernels with the sums of both convolutions."""
        return DEPTHWISE in analysis.names(s_tir.Schedule(func)) and _shape(func) is not None

    def space(self, func: tirx.PrimFunc, target: Target) -> list[Config]:
        """List the tiles of the second convolution that share its work by rows."""
        return _configs(_pointwise(func), target)

    def schedule(self, func: tirx.PrimFunc, config: Config, target: Target) -> tirx.PrimFunc:
        """Tile, order, unroll and vectorise as the module describes."""
        shape = _pointwise(func)
        schedule = s_tir.Schedule(func)
        (between,) = schedule.get_producers(schedule.get_sblock(SUMS))
        name = str(schedule.get(between).name_hint)
        inline_maps(schedule, keep=(PADDED, DEPTHWISE, SUMS, name))
        last = schedule.get_sblock(analysis.names(schedule)[-1])
        outer, tile_loop = tile_result(schedule, last, shape, config)
        keep_in_registers(schedule, SUMS, tile_loop)
        _tile_depthwise(schedule, schedule.get_sblock(name), outer)
        pad_inside(schedule, outer)
        if config["parallel"]:
            schedule.parallel(outer)
        scheduled = tvm_build.mark_scheduled(analysis.start_sums(schedule))
        if not config["parallel"]:
            scheduled = prefetch_weights(scheduled, SUMS, 0, config["blocks"], target)
        return prefetch_result(scheduled, SUMS, target)

    def macs(self, func: tirx.PrimFunc) -> int:
        """Add those of both convolutions."""
        shape = _pointwise(func)
        schedule = s_tir.Schedule(func)
        depthwise = analysis.iterations(schedule, schedule.get_sblock(DEPTHWISE))
        return depthwise + shape.batch * shape.rows * shape.columns * shape.channels * shape.steps


def _tile_depthwise(schedule: s_tir.Schedule, result: Any, outer: Any) -> None:
    """Compute the first convolution for one chunk: a few columns of one vector at a time."""
    sums = schedule.get_sblock(DEPTHWISE)
    lanes = int(schedule.get(sums).iter_vars[4].dom.extent)
    schedule.compute_at(result, outer, preserve_unit_loops=True)
    row, column, channel = schedule.get_loops(result)[-3:]
    columns = int(schedule.get(column).extent)
    lengths = [length for length in DEPTHWISE_COLUMNS if columns % length == 0]
    column_tile, column = cut(schedule, column, max(lengths, default=DEPTHWISE_COLUMNS[0]))
    block, lane = schedule.split(channel, [None, lanes])
    schedule.reorder(row, column_tile, block, column, lane)
    schedule.unroll(column)
    schedule.vectorize(lane)
    schedule.compute_at(sums, block, preserve_unit_loops=True)
    schedule.set_scope(sums, 0, "local")
    column, _, lane, ky, kx = schedule.get_loops(sums)[-5:]
    schedule.reorder(ky, kx, column, lane)
    schedule.vectorize(lane)
    schedule.unroll(column)
    unroll_window(schedule, ky, kx)


def _shape(func: tirx.PrimFunc) -> Shape | None:
    shape = Shape.of(func, beside=(PADDED, DEPTHWISE))
    return shape if shape is not None and shape.sums == SUMS else None


def _pointwise(func: tirx.PrimFunc) -> Shape:
    shape = _shape(func)
    if shape is None:
        raise ValueError("the kernel has no 1x1 convolution: ask matches() first")
    return shape
