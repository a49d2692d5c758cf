"""3x3 convolutions of stride 1 by Winograd's minimal filtering F(2x2, 3x3).

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), section 4.1: a tile of
2x2 results needs 16 products for each pair of channels where the direct sum needs 36. Input tiles
of 4x4 (neighbours overlap by two) are transformed by B, weights by G at compile time, their
products summed over the input channels, and the sums transformed by A:

    Y = A^T [ sum over channels of (G g G^T) * (B^T d B) ] A
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from tvm import te, tirx

from hwopt.targets.target import Target
from hwopt.targets.templates.base import round_up
from hwopt.targets.templates.padding import pad
from hwopt.targets.templates.register_tile import lanes_for

TRANSFORMED, SUMS, RESULT = "winograd_input", "winograd_sums", "winograd_result"
TILE = 2
POINTS = 4
# Vector operations that transform one vector of an input tile, and one of a tile of results.
INPUT_COST, OUTPUT_COST = 80, 60

_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


class Packing(NamedTuple):
    """Input channels are padded to a multiple of ``input_lanes``, output channels of ``lanes``."""

    input_lanes: int
    lanes: int


def packing(shape: tuple[int, ...], target: Target) -> Packing | None:
    """Return how to pack HWIO weights of this shape; None if the direct sum is likely faster."""
    height, width, inputs, outputs = shape
    if (height, width) != (3, 3):
        return None
    lanes = lanes_for(outputs, target)
    blocks = math.ceil(outputs / lanes)
    full = target.float_lanes
    lengths = [length for length in (full, full // 2, full // 4) if length >= 4]
    costs = {length: tile_cost(inputs, length, blocks) for length in lengths}
    input_lanes = min(costs, key=costs.__getitem__)
    direct = (TILE * 3) ** 2 * inputs * blocks
    return Packing(input_lanes, lanes) if costs[input_lanes] < direct else None


def tile_cost(inputs: int, input_lanes: int, blocks: int) -> int:
    """Return the vector operations for one tile of results, about."""
    vectors = math.ceil(inputs / input_lanes)
    products = POINTS**2 * vectors * input_lanes * blocks
    return products + INPUT_COST * vectors + OUTPUT_COST * blocks


def pack(kernel: np.ndarray, packing: Packing) -> np.ndarray:
    """Transform HWIO weights (3, 3, I, O) and pack them as ``[4, 4, block, I, lanes]``.

    Zeros fill up the channels.
    """
    transformed = np.einsum("ay,yxio,bx->abio", _G, kernel.astype(np.float64), _G)
    _, _, inputs, outputs = transformed.shape
    more = [round_up(inputs, packing.input_lanes) - inputs]
    more.append(round_up(outputs, packing.lanes) - outputs)
    padded = np.pad(transformed, [(0, 0), (0, 0), (0, more[0]), (0, more[1])])
    split = padded.reshape(POINTS, POINTS, inputs + more[0], -1, packing.lanes)
    return np.ascontiguousarray(split.transpose(0, 1, 3, 2, 4).astype(kernel.dtype))


def convolution(
    data: te.Tensor, packed: te.Tensor, channels: int, padding: tuple[int, ...]
) -> te.Tensor:
    """Describe the convolution of NHWC ``data`` with weights from :func:`pack`."""
    blocks, inputs, lanes = [int(n) for n in packed.shape][2:]
    batch, height, width, _ = (int(n) for n in data.shape)
    top, left, bottom, right = padding
    rows, columns = height + top + bottom - 2, width + left + right - 2
    tile_rows, tile_columns = math.ceil(rows / TILE), math.ceil(columns / TILE)
    # An odd size is rounded up: the last tile reads zeros below and to the right.
    more = (tile_rows * TILE - rows, tile_columns * TILE - columns)
    source = pad(data, (top, left, bottom + more[0], right + more[1]), inputs)
    ci = te.reduce_axis((0, inputs), name="ci")

    def transform(n: Any, th: Any, a: Any, b: Any, tw: Any, c: Any) -> Any:
        def along_row(y: int) -> Any:
            return _input_transform(b, lambda x: source[n, th * TILE + y, tw * TILE + x, c])

        return _input_transform(a, along_row)

    def multiply(n: Any, th: Any, a: Any, b: Any, tw: Any, o: Any, v: Any) -> Any:
        return te.sum(transformed[n, th, a, b, tw, ci] * packed[a, b, o, ci, v], axis=[ci])

    def result(n: Any, h: Any, w: Any, c: Any) -> Any:
        def along_row(a: int) -> Any:
            return _output_transform(
                w % TILE,
                lambda b: sums[n, h // TILE, a, b, w // TILE, c // lanes, c % lanes],
            )

        return _output_transform(h % TILE, along_row)

    shape = (batch, tile_rows, POINTS, POINTS, tile_columns)
    transformed = te.compute((*shape, inputs), transform, name=TRANSFORMED)
    sums = te.compute((*shape, blocks, lanes), multiply, name=SUMS)
    return te.compute((batch, rows, columns, channels), result, name=RESULT)


def _input_transform(point: Any, value: Any) -> Any:
    """Return row ``point`` of B^T times the four values."""
    return _choose(
        point,
        value(0) - value(2),
        value(1) + value(2),
        value(2) - value(1),
        value(1) - value(3),
    )


def _output_transform(place: Any, value: Any) -> Any:
    """Return row ``place`` of A^T times the four values."""
    return _choose(place, value(0) + value(1) + value(2), value(1) - value(2) - value(3))


def _choose(index: Any, *options: Any) -> Any:
    """Return ``options[index]``; where loops are unrolled only that option is left."""
    chosen = options[-1]
    for number, option in reversed(list(enumerate(options[:-1]))):
        chosen = tirx.if_then_else(index == number, option, chosen)
    return chosen
