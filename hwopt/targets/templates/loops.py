"""Everything that is not a convolution or a matrix product: elementwise, pooling, softmax, ...

Rules, for each block in turn:

1. A block that only moves or maps values is computed inside its consumer, if it has one only.
2. The innermost spatial loop is vectorised, reductions outside it. Where there is none worth
   it, a reduction is cut into one partial result per vector lane.
3. The outer loops run in parallel if the block is large enough to pay for waking the threads.
"""

from __future__ import annotations

import logging
from typing import Any

import tvm
from tvm import s_tir, tirx

from hwopt.errors import last_line
from hwopt.targets import tvm_build
from hwopt.targets.target import Target
from hwopt.targets.templates import analysis
from hwopt.targets.templates.base import Config

log = logging.getLogger("hwopt.targets")

# Block runs below which one thread is faster: waking the others takes one or two microseconds.
PARALLEL_FROM = 16384
# Products of two tensors above this size deserve a real schedule.
LARGEST_CONTRACTION = 4096
LONGEST_VECTOR_LOOP = 64
# Of an expression inside the one that reads it; the compiler takes most of them together again.
MOST_COPIES = 64
SHORTEST_VECTOR_LOOP = 4


class Loops:
    """Inline, vectorise, and run in parallel if ``parallel`` is 1."""

    name = "loops"

    def matches(self, func: tirx.PrimFunc, target: Target) -> bool:
        """Accept kernels of plain loops without a large product of two tensors."""
        if not analysis.is_static(func):
            return False
        schedule = s_tir.Schedule(func)
        return not any(
            analysis.is_contraction(schedule, block)
            and analysis.iterations(schedule, block) > LARGEST_CONTRACTION
            for block in analysis.blocks(schedule)
        )

    def space(self, func: tirx.PrimFunc, target: Target) -> list[Config]:
        """Offer one thread or all of them, the likely better one first."""
        if target.threads == 1:
            return [{"parallel": 0}]
        first = int(analysis.work(func) >= PARALLEL_FROM)
        return [{"parallel": first}, {"parallel": 1 - first}]

    def schedule(self, func: tirx.PrimFunc, config: Config, target: Target) -> tirx.PrimFunc:
        """Apply the rules of this module; where TVM cannot, the loops stay as they are."""
        schedule = s_tir.Schedule(func)
        try:
            inline_maps(schedule)
            for name in analysis.names(schedule):
                block = schedule.get_sblock(name)
                _schedule_block(schedule, block, bool(config["parallel"]), target)
        except (s_tir.ScheduleError, tvm.error.InternalError) as error:
            log.warning(
                "a kernel stays plain loops, which are slower: TVM says %s", last_line(error)
            )
            schedule = s_tir.Schedule(func)
        return tvm_build.mark_scheduled(analysis.start_sums(schedule))

    def macs(self, func: tirx.PrimFunc) -> int:
        """Count the products of two tensors that are summed."""
        return analysis.macs(func)


def inline_maps(schedule: s_tir.Schedule, keep: tuple[str, ...] = ()) -> None:
    """Compute every block that maps values inside its consumer, if it has exactly one.

    The last come first: the two readers of x in x * sigmoid(x) become one before x is looked at.
    The blocks named in ``keep`` stay, and those that the consumer reads in very many places: in a
    chain of such products every one doubles them.
    """
    for name in reversed(analysis.names(schedule)):
        if name in keep:
            continue
        block = schedule.get_sblock(name)
        consumers = schedule.get_consumers(block)
        if not analysis.is_reduction(schedule, block) and len(consumers) == 1:
            written = schedule.get(block).writes[0].source
            places = analysis.loads(schedule.get(consumers[0]).body)[written]
            if places > MOST_COPIES:
                continue
            try:
                schedule.compute_inline(block)
            except s_tir.ScheduleError:
                continue  # an access that cannot be inverted stays a block of its own


def _schedule_block(schedule: s_tir.Schedule, block: Any, parallel: bool, target: Target) -> None:
    """Order, vectorise and parallelise the loops of one block."""
    pairs = list(zip(schedule.get_loops(block), schedule.get(block).iter_vars, strict=True))
    spatial = [loop for loop, var in pairs if var.iter_type == analysis.SPATIAL]
    reduction = [loop for loop, var in pairs if var.iter_type == analysis.REDUCTION]
    if not pairs:
        return
    if not spatial or (reduction and _extent(schedule, spatial[-1]) < SHORTEST_VECTOR_LOOP):
        outer = _reduce_in_lanes(schedule, block, spatial, reduction, target)
    else:
        outer, vector = _vector_loop(schedule, block, spatial, target)
        schedule.reorder(*outer, *reduction, vector)
        if reduction:
            _accumulate_locally(schedule, block, outer)
        schedule.vectorize(vector)
    # The loop that is cut into a vectorised part and a rest cannot be fused: it stays inside.
    plain = [loop for loop in outer if not schedule.get(loop).annotations]
    if parallel and plain:
        schedule.parallel(schedule.fuse(*plain))


def _vector_loop(
    schedule: s_tir.Schedule, block: Any, spatial: list[Any], target: Target
) -> tuple[list[Any], Any]:
    """Return the outer loops, and an innermost one short enough to vectorise."""
    *outer, inner = spatial
    length = _extent(schedule, inner)
    if length <= LONGEST_VECTOR_LOOP:
        return outer, inner
    if length % target.float_lanes and analysis.cannot_be_cut(schedule, block):
        # Vectors that leave no rest.
        longest = max(n for n in range(1, LONGEST_VECTOR_LOOP + 1) if length % n == 0)
        blocks, vector = schedule.split(inner, [None, longest])
        return [*outer, blocks], vector
    blocks, vector = schedule.split(inner, [None, target.float_lanes])
    if length % target.float_lanes:
        schedule.annotate(blocks, tvm_build.PARTITION, True)
    return [*outer, blocks], vector


def _accumulate_locally(schedule: s_tir.Schedule, block: Any, outer: list[Any]) -> None:
    """Keep the sum in registers while reducing, and store it once."""
    if outer:
        copy = schedule.cache_write(block, 0, "local")
        schedule.reverse_compute_at(copy, outer[-1])
        schedule.vectorize(schedule.get_loops(copy)[-1])


def _reduce_in_lanes(
    schedule: s_tir.Schedule, block: Any, spatial: list[Any], reduction: list[Any], target: Target
) -> list[Any]:
    """Reduce into one partial result a lane, then over the lanes; returns the outer loops."""
    lanes = target.float_lanes
    length = _extent(schedule, reduction[-1])
    if length % lanes or length < 2 * lanes:
        return spatial
    _, lane = schedule.split(reduction[-1], [None, lanes])
    partial = schedule.rfactor(lane, 0)
    schedule.vectorize(schedule.get_loops(partial)[-1])
    return []


def _extent(schedule: s_tir.Schedule, loop: Any) -> int:
    return int(schedule.get(loop).extent)
