"""The choices of the register tile, and a cost model that ranks them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

from tvm import s_tir, tirx

from hwopt.targets.target import Target
from hwopt.targets.templates import analysis
from hwopt.targets.templates.base import Config, round_up
from hwopt.targets.templates.padding import BITS, PADDED

# Names of blocks: the sums over all channels of a group, over the window of one channel, or over
# words of bits, and their unpacking, without and with groups.
SUMS, DEPTHWISE, BINARY = "hwopt_sums", "hwopt_depthwise_sums", "hwopt_binary_sums"
UNPACKED, GROUPED = "hwopt_unpacked", "hwopt_unpacked_groups"
# Of the block that hands signs on, in words, and of the numbers whose signs they are.
SIGNS, DIFFERENCES = "hwopt_signs", "hwopt_differences"
# Of the words that binary kernels count in.
WORD_BITS = 32
# How TVM's fusion sees such kernels: elementwise operators may follow in the same function.
OUT_ELEMENTWISE_FUSABLE = 4
# A fused multiply-add takes about 4 cycles, and two start in each: fewer sums than this wait.
BUSY_SUMS = 8
# Multiply-adds below which one thread is faster than waking the others.
PARALLEL_FROM = 60_000
# Copying one vector into the padded buffer costs about as much as this many multiply-adds.
COPY_COST = 4
LARGEST_TILE = 28
# Input channels of a model's first layer: copying them into a padded input is not worth it.
FEW_INPUTS = 4
MOST_CANDIDATES = 48


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of a kernel: the result is ``[batch, rows, columns, channels]``."""

    sums: str  # name of the block to tile
    batch: int
    rows: int
    columns: int
    blocks: int
    lanes: int
    steps: int
    channels: int
    padded: tuple[int, ...]  # the padded input: batch, rows, columns, channels; or empty
    between: int  # channels of a depthwise result that is computed chunk by chunk; or 0
    one_group: bool  # channels of one group are neighbours in the packed sums
    width: int  # channels in one element of the result: the bits of a word, or 1

    @classmethod
    def of(cls, func: tirx.PrimFunc, beside: tuple[str, ...] = (PADDED, BITS)) -> Shape | None:
        """Read the sizes off an unscheduled kernel; None if it has no packed sum to tile.

        Args:
            func: the kernel.
            beside: blocks that may be there without being looked at.
        """
        schedule = s_tir.Schedule(func)
        extents = {
            name: [int(v.dom.extent) for v in schedule.get(schedule.get_sblock(name)).iter_vars]
            for name in analysis.names(schedule)
        }
        reductions = [
            name
            for name in extents
            if name not in beside and analysis.is_reduction(schedule, schedule.get_sblock(name))
        ]
        if len(reductions) != 1 or reductions[0] not in (SUMS, DEPTHWISE, BINARY):
            return None
        batch, rows, columns, blocks, lanes, *reduction = extents[reductions[0]]
        *leading, elements = list(extents.values())[-1]
        width = WORD_BITS if SIGNS in extents else 1
        if as_three(leading) != [batch, rows, columns]:
            return None
        return cls(
            reductions[0],
            batch,
            rows,
            columns,
            blocks,
            lanes,
            math.prod(reduction),
            elements * width,
            _four_sizes(extents.get(PADDED) or extents.get(BITS) or []),
            math.prod(reduction) if DEPTHWISE in extents and reductions == [SUMS] else 0,
            GROUPED not in extents,
            width,
        )

    @property
    def exact(self) -> bool:
        """Whether the channels fill all blocks, so that a tile is stored without a rest."""
        return self.one_group and self.blocks * self.lanes == self.channels

    def copied_rows(self, chunk_rows: int) -> int:
        """Return how many rows of the padded input a chunk of the result needs."""
        height = self.padded[1]
        step = (height - 1) // max(self.rows, 1) or 1
        return chunk_rows * step + max(0, height - self.rows * step)

    def scratch_bytes(self, chunk_rows: int) -> int:
        """Return the size of what is computed before the sums of one chunk."""
        between = chunk_rows * self.columns * self.between
        if not self.padded:
            return 4 * between
        _, _, width, channels = self.padded
        return 4 * (between + self.copied_rows(chunk_rows) * width * channels)


def _four_sizes(sizes: list[int]) -> tuple[int, ...]:
    """Return the sizes of a padded input; none of a matrix, of which all is packed at once."""
    return tuple(sizes) if len(sizes) == 4 else ()


def as_three(leading: list[Any], unit: Any = 1) -> list[Any]:
    """Return the dimensions before the channels as [batch, rows, columns], ``unit`` where absent.

    A matrix product has its rows as rows, so that they are shared among the threads.
    """
    return {
        0: [unit, unit, unit],
        1: [unit, *leading, unit],
        2: [*leading, unit],
        3: leading,
    }.get(len(leading), [])


def configs(shape: Shape, target: Target) -> list[Config]:
    """Return tilings that fit the registers, the cheapest by the model first.

    ``rows``, ``columns``, ``blocks``: the tile. ``chunks``: parts of the work.
    ``by_blocks``: whether the parts are channel blocks instead of rows. ``parallel``: whether
    threads share the parts.
    """
    found: list[tuple[float, Config]] = []
    most_rows = 4 if shape.columns > 1 else LARGEST_TILE
    most_blocks = 6 if shape.rows * shape.columns > 1 else LARGEST_TILE
    tiles = itertools.product(
        _sizes(shape.rows, most_rows),
        _sizes(shape.columns, LARGEST_TILE),
        _block_counts(shape, most_blocks),
    )
    threads = _threads(shape, target)
    for rows, columns, blocks in tiles:
        sums = rows * columns * blocks
        if sums > LARGEST_TILE or sums + blocks + 1 > target.vector_registers:
            continue
        if shape.exact and shape.blocks % blocks:
            continue
        for by_blocks, chunks in _partitions(shape, rows, blocks, target):
            config = {
                "rows": rows,
                "columns": columns,
                "blocks": blocks,
                "chunks": chunks,
                "by_blocks": by_blocks,
                "parallel": int(chunks > 1 and threads > 1),
            }
            found.append((_cost(shape, config, target), config))
    found.sort(key=lambda item: item[0])
    return [config for _, config in found[:MOST_CANDIDATES]]


def _partitions(shape: Shape, rows: int, blocks: int, target: Target) -> list[tuple[int, int]]:
    """Return ways to share the work: (by blocks?, number of parts), parts of equal size."""
    threads = _threads(shape, target)
    counts = [n for n in range(1, shape.rows + 1) if shape.rows % n == 0]
    counts = [n for n in counts if shape.rows // n >= rows and shape.batch * n >= threads]
    # Kernels by themselves find their scratch memory in a large cache, those of a model do not.
    fitting = [n for n in counts if shape.scratch_bytes(shape.rows // n) <= target.l2_bytes // 2]
    found = [(0, chunks) for chunks in (fitting or counts)[:3]]
    if threads == 1:
        return found[:1] if not shape.padded and not shape.between else found
    block_tiles = shape.blocks // blocks
    if shape.blocks % blocks == 0 and shape.exact and block_tiles >= threads:
        found.append((1, block_tiles))
    return found or [(0, 1)]


def _threads(shape: Shape, target: Target) -> int:
    """Return how many threads share a kernel of this size."""
    macs = shape.batch * shape.rows * shape.columns * shape.blocks * shape.lanes * shape.steps
    return target.threads if macs >= PARALLEL_FROM else 1


def _cost(shape: Shape, config: Config, target: Target) -> float:
    """Estimate the time in vector multiply-adds of one thread."""
    rows, columns, blocks = config["rows"], config["columns"], config["blocks"]
    chunks = config["chunks"]
    row_chunks = 1 if config["by_blocks"] else chunks
    chunk_rows = shape.rows // row_chunks
    computed = (
        row_chunks
        * round_up(chunk_rows, rows)
        * round_up(shape.columns, columns)
        * round_up(shape.blocks, blocks)
    )
    sums = rows * columns * blocks
    loads = (rows * columns + blocks) / sums
    work = computed * shape.steps * max(1.0, BUSY_SUMS / sums) * (1 + loads / 4)
    copies = 0.0
    if shape.padded:
        _, _, width, channels = shape.padded
        vectors = width * math.ceil(channels / target.float_lanes)
        copies = chunks * shape.copied_rows(chunk_rows) * vectors * COPY_COST
    parts = shape.batch * chunks
    share = math.ceil(parts / target.threads) / parts if config["parallel"] else 1.0
    return (work + copies) * share * shape.batch


def can_make_words(lanes: int, target: Target) -> bool:
    """Return whether the registers hold the sums of one word of signs, and their weights."""
    blocks = WORD_BITS // lanes
    return blocks + blocks + 1 <= target.vector_registers


def _block_counts(shape: Shape, most: int) -> list[int]:
    """Return how many channel blocks a tile can have: whole elements of the result."""
    blocks = math.ceil(shape.width / shape.lanes)
    return [blocks * n for n in _sizes(shape.blocks // blocks, max(1, most // blocks))]


def _sizes(size: int, largest: int) -> list[int]:
    return [n for n in range(1, min(size, largest) + 1) if size % n == 0 or n in (4, 6, 8)]
