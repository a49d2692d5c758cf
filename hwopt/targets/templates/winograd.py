"""3x3 convolutions of stride 1 by Winograd's minimal filtering F(m x m, 3x3).

A tile of m x m results needs (m + 2)^2 products for each pair of channels where the direct sum
needs 9 m^2: 16 instead of 36 for m = 2, 36 instead of 144 for m = 4. The transformations that this
takes are in ``winograd_transforms``; weights are transformed at compile time. Each is applied to
the rows of a tile first, then to its columns.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
from tvm import te, tirx

from hwopt.targets.target import Target
from hwopt.targets.templates.base import round_up
from hwopt.targets.templates.padding import pad
from hwopt.targets.templates.register_tile import lanes_for
from hwopt.targets.templates.winograd_transforms import TRANSFORMS

# Names of blocks, in the order in which they are computed.
INPUT_ROWS, TRANSFORMED = "winograd_input_rows", "winograd_input"
SUMS, RESULT_ROWS, RESULT = "winograd_sums", "winograd_result_rows", "winograd_result"
# Weights are read once an inference. A vector of them costs about as much as this many
# multiply-adds if the second cache holds them, and if it does not.
NEAR_WEIGHT_COST, FAR_WEIGHT_COST = 2, 10


class Packing(NamedTuple):
    """Tiles of ``tile`` x ``tile`` results, and to what multiples channels are padded.

    Input channels to one of ``input_lanes``, output channels to one of ``lanes``.
    """

    tile: int
    input_lanes: int
    lanes: int


def packing(
    kernel: tuple[int, ...], rows: int, columns: int, batch: int, target: Target
) -> Packing | None:
    """Return how to pack weights; None if the direct sum is likely faster, or for a GPU.

    Args:
        kernel: shape of the HWIO weights.
        rows, columns, batch: of the result.
        target: the device.
    """
    height, width, inputs, outputs = kernel
    if (height, width) != (3, 3) or target.is_gpu:
        return None
    lanes = lanes_for(outputs, target)
    blocks = math.ceil(outputs / lanes)
    full = target.float_lanes
    lengths = [length for length in (full, full // 2, full // 4) if length >= 4]
    costs = {}
    for tile, input_lanes in itertools.product(TRANSFORMS, lengths):
        tiles = batch * math.ceil(rows / tile) * math.ceil(columns / tile)
        vectors = TRANSFORMS[tile].points ** 2 * inputs * blocks
        products = tiles * tile_cost(tile, inputs, input_lanes, blocks)
        costs[Packing(tile, input_lanes, lanes)] = products + _reading(vectors, lanes, target)
    if not costs:
        return None
    best = min(costs, key=costs.__getitem__)
    vectors = 9 * inputs * blocks
    direct = vectors * batch * rows * columns + _reading(vectors, lanes, target)
    return best if costs[best] < direct else None


def _reading(vectors: int, lanes: int, target: Target) -> int:
    """Return what reading this many vectors of weights costs, in multiply-adds."""
    near = 4 * vectors * lanes <= target.l2_bytes
    return vectors * (NEAR_WEIGHT_COST if near else FAR_WEIGHT_COST)


def tile_cost(tile: int, inputs: int, input_lanes: int, blocks: int) -> int:
    """Return the vector operations for one tile of results, about."""
    transforms = TRANSFORMS[tile]
    vectors = math.ceil(inputs / input_lanes)
    products = transforms.points**2 * vectors * input_lanes * blocks
    return products + transforms.input_cost * vectors + transforms.result_cost * blocks


def pack(kernel: np.ndarray, packing: Packing) -> np.ndarray:
    """Transform HWIO weights (3, 3, I, O) and pack them as ``[m + 2, m + 2, block, I, lanes]``.

    Zeros fill up the channels.
    """
    weights = TRANSFORMS[packing.tile].weights
    transformed = np.einsum("ay,yxio,bx->abio", weights, kernel.astype(np.float64), weights)
    points, _, inputs, outputs = transformed.shape
    more = [round_up(inputs, packing.input_lanes) - inputs]
    more.append(round_up(outputs, packing.lanes) - outputs)
    padded = np.pad(transformed, [(0, 0), (0, 0), (0, more[0]), (0, more[1])])
    split = padded.reshape(points, points, inputs + more[0], -1, packing.lanes)
    return np.ascontiguousarray(split.transpose(0, 1, 3, 2, 4).astype(kernel.dtype))


def convolution(
    data: te.Tensor, packed: te.Tensor, channels: int, padding: tuple[int, ...]
) -> te.Tensor:
    """Describe the convolution of NHWC ``data`` with weights from :func:`pack`."""
    points, _, blocks, inputs, lanes = (int(n) for n in packed.shape)
    tile = points - 2
    transforms = TRANSFORMS[tile]
    batch, height, width, _ = (int(n) for n in data.shape)
    top, left, bottom, right = padding
    rows, columns = height + top + bottom - 2, width + left + right - 2
    tile_rows, tile_columns = math.ceil(rows / tile), math.ceil(columns / tile)
    # Sizes are rounded up to whole tiles: the last ones read zeros below and to the right.
    more = (tile_rows * tile - rows, tile_columns * tile - columns)
    source = pad(data, (top, left, bottom + more[0], right + more[1]), inputs)
    ci = te.reduce_axis((0, inputs), name="ci")

    def input_row(n: Any, th: Any, tw: Any, y: Any, b: Any, c: Any) -> Any:
        values = [source[n, th * tile + y, tw * tile + x, c] for x in range(points)]
        return _choose(b, transforms.inputs(values))

    def transform(n: Any, th: Any, a: Any, b: Any, tw: Any, c: Any) -> Any:
        return _choose(
            a, transforms.inputs([input_rows[n, th, tw, y, b, c] for y in range(points)])
        )

    def multiply(n: Any, th: Any, a: Any, b: Any, tw: Any, o: Any, v: Any) -> Any:
        return te.sum(transformed[n, th, a, b, tw, ci] * packed[a, b, o, ci, v], axis=[ci])

    def result_row(n: Any, th: Any, tw: Any, o: Any, a: Any, x: Any, v: Any) -> Any:
        values = [sums[n, th, a, b, tw, o, v] for b in range(points)]
        return _choose(x, transforms.results(values))

    def result(n: Any, h: Any, w: Any, c: Any) -> Any:
        values = [
            result_rows[n, h // tile, w // tile, c // lanes, a, w % tile, c % lanes]
            for a in range(points)
        ]
        return _choose(h % tile, transforms.results(values))

    tiles = (batch, tile_rows, tile_columns)
    shape = (batch, tile_rows, points, points, tile_columns)
    input_rows = te.compute((*tiles, points, points, inputs), input_row, name=INPUT_ROWS)
    transformed = te.compute((*shape, inputs), transform, name=TRANSFORMED)
    sums = te.compute((*shape, blocks, lanes), multiply, name=SUMS)
    result_rows = te.compute((*tiles, blocks, points, tile, lanes), result_row, name=RESULT_ROWS)
    return te.compute((batch, rows, columns, channels), result, name=RESULT)


def _choose(index: Any, options: list[Any]) -> Any:
    """Return ``options[index]``; where loops are unrolled only that option is left."""
    chosen = options[-1]
    for number, option in reversed(list(enumerate(options[:-1]))):
        chosen = tirx.if_then_else(index == number, option, chosen)
    return chosen
