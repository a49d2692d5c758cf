"""The choices of the Winograd schedule, and a cost model that ranks them."""

from __future__ import annotations

import dataclasses
import itertools
import math

from tvm import s_tir, tirx

from hwopt.targets.target import Target
from hwopt.targets.templates import analysis
from hwopt.targets.templates.base import Config, round_up
from hwopt.targets.templates.register_tile_space import BUSY_SUMS, LARGEST_TILE
from hwopt.targets.templates.winograd import SUMS
from hwopt.targets.templates.winograd_transforms import TRANSFORMS

MOST_CANDIDATES = 48


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of a kernel: tiles, input channels, and blocks of output channels."""

    tile: int
    batch: int
    rows: int
    columns: int
    inputs: int
    blocks: int
    lanes: int
    channels: int

    @classmethod
    def of(cls, func: tirx.PrimFunc) -> Sizes | None:
        """Read the sizes off an unscheduled kernel; None if it is no Winograd convolution."""
        schedule = s_tir.Schedule(func)
        names = analysis.names(schedule)
        if SUMS not in names or len(schedule.get_loops(schedule.get_sblock(names[-1]))) != 4:
            return None
        extents = [int(v.dom.extent) for v in schedule.get(schedule.get_sblock(SUMS)).iter_vars]
        batch, rows, points, _, columns, blocks, lanes, inputs = extents
        channels = schedule.get(schedule.get_sblock(names[-1])).iter_vars[-1].dom.extent
        return cls(points - 2, batch, rows, columns, inputs, blocks, lanes, int(channels))

    @property
    def exact(self) -> bool:
        """Whether the output channels fill their blocks."""
        return self.blocks * self.lanes == self.channels

    @property
    def input_lanes(self) -> int:
        """The longest vector, up to the block length, that divides the input channels."""
        return math.gcd(self.inputs, self.lanes)


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
    if sizes.exact and sizes.batch * sizes.blocks // blocks >= target.threads:
        found.append((1, sizes.rows))
    return found or [(0, sizes.rows)]


def _cost(sizes: Sizes, config: Config, target: Target) -> float:
    """Estimate the time in vector multiply-adds of one thread."""
    rows, columns, blocks = config["rows"], config["columns"], config["blocks"]
    count = rows * columns * blocks
    loads = (rows * columns + blocks) / count
    chunks = sizes.rows // config["chunk_rows"]
    tiles = chunks * round_up(config["chunk_rows"], rows) * round_up(sizes.columns, columns)
    busy = max(1.0, BUSY_SUMS / count)
    transforms = TRANSFORMS[sizes.tile]
    points = transforms.points**2
    products = points * tiles * sizes.blocks * sizes.inputs * busy * (1 + loads / 4)
    vectors = sizes.inputs // sizes.input_lanes
    moved = vectors * transforms.input_cost + sizes.blocks * transforms.result_cost
    # What one chunk keeps between the steps should stay in the second cache.
    kept = points * config["chunk_rows"] * sizes.columns * sizes.lanes * 4 * (vectors + blocks)
    spill = 2 if kept > target.l2_bytes else 1
    parts = sizes.batch * (sizes.blocks // blocks if config["by_blocks"] else chunks)
    share = math.ceil(parts / target.threads) / parts
    return (products + sizes.rows * sizes.columns * moved * spill) * share * sizes.batch
