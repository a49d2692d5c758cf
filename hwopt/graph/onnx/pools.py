"""Pools, and what undoes them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F

from hwopt.graph.onnx.layers import spatial_pads, windows
from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import OnnxValue, ints, tensor

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _geometry(node: OnnxNode, x: torch.Tensor) -> tuple[list[int], list[int], list[int], Any]:
    """Return kernel, strides, dilations, and padding; what rounding up adds lies behind."""
    kernel = node.get("kernel_shape")
    if len(kernel) not in _MAX:
        raise node.refuse(f"{len(kernel)} spatial dimensions")
    strides, dilations = windows(node, len(kernel))
    pads = spatial_pads(node, x, kernel, strides, dilations)
    return kernel, strides, dilations, pads


def _rest(node: OnnxNode, x: torch.Tensor, geometry: Any) -> list[int]:
    """Return how much has to be added behind each dimension so that the last window is whole."""
    if not node.get("ceil_mode", 0):
        return [0] * (x.dim() - 2)
    found = []
    for size, k, s, d, (before, behind) in zip(x.shape[2:], *geometry, strict=True):
        inner = size + before + behind - (k - 1) * d - 1
        count = -(-inner // s) + 1
        if (count - 1) * s >= size + before:
            count -= 1  # a window that begins behind the input is none
        found.append(max(0, (count - 1) * s + (k - 1) * d + 1 - size - before - behind))
    return found


def _around(x: torch.Tensor, pads: Any, rest: list[int], value: float) -> torch.Tensor:
    widths = [(before, behind + more) for (before, behind), more in zip(pads, rest, strict=True)]
    if not any(map(any, widths)):
        return x
    return F.pad(x, list(itertools.chain(*widths[::-1])), value=value)


def _max_pool(node: OnnxNode, x: OnnxValue) -> Any:
    data = tensor(x)
    geometry = kernel, strides, dilations, pads = _geometry(node, data)
    rest = _rest(node, data, geometry)
    rank = len(kernel)
    if len(node.outputs) > 1 and node.outputs[1]:
        return _max_with_places(node, data, geometry, rest)
    is_plain = all(a == b and 2 * a <= k for (a, b), k in zip(pads, kernel, strict=True))
    if is_plain and not any(rest):
        return _MAX[rank](data, kernel, strides, [a for a, _ in pads], dilations)
    if not data.is_floating_point():
        lowest: float = torch.iinfo(data.dtype).min
    else:
        lowest = -math.inf
    return _MAX[rank](_around(data, pads, rest, lowest), kernel, strides, 0, dilations)


def _max_with_places(node: OnnxNode, x: torch.Tensor, geometry: Any, rest: list[int]) -> Any:
    """Return values and their places, counted through the whole tensor."""
    kernel, strides, dilations, pads = geometry
    rank, sizes = len(kernel), x.shape[2:]
    around = _around(
        x, pads, rest, -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    )
    values, inner = _MAX[rank](around, kernel, strides, 0, dilations, False, True)
    places, parts = inner, []
    for size in around.shape[:1:-1]:
        parts.append(places % size)
        places = torch.div(places, size, rounding_mode="floor")
    own = [part - pads[d][0] for d, part in enumerate(parts[::-1])]
    order = range(rank) if not node.get("storage_order", 0) else range(rank)[::-1]
    flat = torch.zeros_like(inner)
    for d in order:
        flat = flat * sizes[d] + own[d]
    batch, channels = x.shape[:2]
    rows = torch.arange(batch * channels).reshape(batch, channels, *[1] * rank)
    return values, flat + rows * math.prod(sizes)


def _average_pool(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
    data = tensor(x)
    geometry = kernel, strides, dilations, pads = _geometry(node, data)
    rest, rank = _rest(node, data, geometry), len(kernel)
    counts_padding = bool(node.get("count_include_pad", 0))
    is_dense = all(d == 1 for d in dilations) and not any(rest)
    if is_dense and all(a == b and 2 * a <= k for (a, b), k in zip(pads, kernel, strict=True)):
        around = [a for a, _ in pads]
        return _AVERAGE[rank](data, kernel, strides, around, False, counts_padding)
    sums = _window_sums(_around(data, pads, rest, 0.0), kernel, strides, dilations)
    inside = torch.ones(1, 1, *data.shape[2:], dtype=data.dtype)
    if counts_padding:
        inside = _around(inside, pads, [0] * rank, 1.0)
        counts = _window_sums(
            _around(inside, [(0, 0)] * rank, rest, 0.0), kernel, strides, dilations
        )
    else:
        counts = _window_sums(_around(inside, pads, rest, 0.0), kernel, strides, dilations)
    return sums / counts


def _window_sums(x: torch.Tensor, kernel: Any, strides: Any, dilations: Any) -> torch.Tensor:
    """Return the sum of each window, by one dimension after the other."""
    for d, (k, s, dilation) in enumerate(zip(kernel, strides, dilations, strict=True)):
        count = (x.shape[d + 2] - (k - 1) * dilation - 1) // s + 1
        parts = []
        for tap in range(k):
            index = [slice(None)] * (d + 2)
            first = tap * dilation
            index.append(slice(first, first + (count - 1) * s + 1, s))
            parts.append(x[tuple(index)])
        x = torch.stack(parts).sum(0)
    return x


def _lp_pool(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
    data, p = tensor(x), node.get("p", 2)
    geometry = kernel, strides, dilations, pads = _geometry(node, data)
    powers = _around(data.abs() ** p, pads, _rest(node, data, geometry), 0.0)
    return _window_sums(powers, kernel, strides, dilations) ** (1 / p)


def _global(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
    data = tensor(x)
    dims = list(range(2, data.dim()))
    if node.op == "GlobalAveragePool":
        return data.mean(dims, keepdim=True)
    if node.op == "GlobalMaxPool":
        return data.amax(dims, keepdim=True)
    p = node.get("p", 2)
    return (data.abs() ** p).sum(dims, keepdim=True) ** (1 / p)


def _unpool(
    node: OnnxNode, x: OnnxValue, places: OnnxValue, shape: OnnxValue = None
) -> torch.Tensor:
    data, where = tensor(x), tensor(places)
    kernel = node.get("kernel_shape")
    strides, _ = windows(node, len(kernel))
    pads = node.get("pads", [0] * 2 * len(kernel))
    count = len(kernel)
    own = [
        (n - 1) * s - pads[d] - pads[count + d] + kernel[d]
        for d, (n, s) in enumerate(zip(data.shape[2:], strides, strict=True))
    ]
    sizes = [*data.shape[:2], *own]
    flat = torch.zeros(math.prod(sizes), dtype=data.dtype)
    found = flat.scatter(0, where.reshape(-1), data.reshape(-1)).reshape(sizes)
    if shape is None:
        return found
    wanted = ints(node, shape, "the shape")
    # Places are counted through the smallest tensor that it can have been.
    more = [outer - inner for outer, inner in zip(wanted, sizes, strict=True)]
    return F.pad(found, [width for n in more[::-1] for width in (0, n)])


OPERATORS: dict[str, OnnxOperator] = {
    "MaxPool": OnnxOperator(_max_pool),
    "AveragePool": OnnxOperator(_average_pool),
    "LpPool": OnnxOperator(_lp_pool),
    "GlobalAveragePool": OnnxOperator(_global),
    "GlobalMaxPool": OnnxOperator(_global),
    "GlobalLpPool": OnnxOperator(_global),
    "MaxUnpool": OnnxOperator(_unpool, plain=(2,)),
}
