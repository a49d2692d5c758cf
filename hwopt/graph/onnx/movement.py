"""Operators that move elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import (
    OnnxValue,
    ints,
    number,
    tensor,
)


def axes_of(node: OnnxNode, given: OnnxValue, what: str = "axes") -> list[int] | None:
    """Return axes that are an input since some version, and were an attribute before."""
    if given is not None:
        return [int(one) for one in ints(node, given, what)]
    return node.get(what)


def _reshape(node: OnnxNode, x: OnnxValue, shape: OnnxValue) -> torch.Tensor:
    data = tensor(x)
    wanted = ints(node, shape, "the shape")
    if not node.get("allowzero", 0):
        wanted = [
            data.shape[i] if isinstance(n, int) and n == 0 else n for i, n in enumerate(wanted)
        ]
    return data.reshape(wanted)


def _reshape_sizes(node: OnnxNode, x: np.ndarray, shape: np.ndarray) -> np.ndarray:
    return x.reshape([int(n) for n in shape])


def _transpose(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
    data = tensor(x)
    return data.permute(node.get("perm", list(range(data.dim()))[::-1]))


def _squeeze(node: OnnxNode, x: OnnxValue, axes: OnnxValue = None) -> torch.Tensor:
    data, dims = tensor(x), axes_of(node, axes)
    # Without axes what becomes of a batch of one is the import's to say, as for a torch module.
    return data.squeeze() if dims is None else data.squeeze(tuple(dims))


def _squeeze_sizes(node: OnnxNode, x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    dims = axes_of(node, axes)
    return np.squeeze(x, None if dims is None else tuple(dims))


def _unsqueeze(node: OnnxNode, x: OnnxValue, axes: OnnxValue = None) -> torch.Tensor:
    data = tensor(x)
    dims = axes_of(node, axes) or []
    rank = data.dim() + len(dims)
    for dim in sorted(d % rank for d in dims):
        data = data.unsqueeze(dim)
    return data


def _unsqueeze_sizes(node: OnnxNode, x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    return np.expand_dims(x, tuple(axes_of(node, axes) or ()))


def _flatten(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
    data = tensor(x)
    axis = node.get("axis", 1)
    axis += data.dim() if axis < 0 else 0
    if axis == 1 and data.dim() > 1:
        return data.flatten(1)
    return data.reshape(math.prod(data.shape[:axis]), math.prod(data.shape[axis:]))


def _concat(node: OnnxNode, *values: OnnxValue) -> torch.Tensor:
    return torch.cat([tensor(value) for value in values], node.get("axis"))


def _concat_sizes(node: OnnxNode, *values: np.ndarray) -> np.ndarray:
    return np.concatenate([value.astype(object) for value in values], node.get("axis"))


def _split(node: OnnxNode, x: OnnxValue, split: OnnxValue = None) -> tuple[torch.Tensor, ...]:
    data, axis = tensor(x), node.get("axis", 0)
    lengths = node.get("split") if split is None else ints(node, split, "the lengths")
    if lengths is None:
        count = node.get("num_outputs", len(node.outputs))
        length = -(-data.shape[axis] // count)
        rest = data.shape[axis] - length * (count - 1)
        lengths = [length] * (count - 1) + [rest]
    return tuple(torch.split(data, lengths, axis))


def _split_sizes(node: OnnxNode, x: np.ndarray, split: OnnxValue = None) -> tuple[np.ndarray, ...]:
    lengths = node.get("split") if split is None else ints(node, split, "the lengths")
    parts = len(node.outputs) if lengths is None else np.cumsum(lengths)[:-1]
    return tuple(np.split(x, parts, node.get("axis", 0)))


def _expand(node: OnnxNode, x: OnnxValue, shape: OnnxValue) -> torch.Tensor:
    data, wanted = tensor(x), ints(node, shape, "the shape")
    rank = max(data.dim(), len(wanted))
    ours, theirs = [1] * (rank - data.dim()) + list(data.shape), [1] * (rank - len(wanted)) + wanted
    both = [a if isinstance(b, int) and b == 1 else b for a, b in zip(ours, theirs, strict=True)]
    return data.expand(both)


def _tile(node: OnnxNode, x: OnnxValue, repeats: OnnxValue) -> torch.Tensor:
    return tensor(x).repeat(ints(node, repeats, "the repeats"))


def _pad(
    node: OnnxNode,
    x: OnnxValue,
    pads: OnnxValue = None,
    value: OnnxValue = None,
    axes: OnnxValue = None,
) -> Any:
    data = tensor(x)
    widths = node.get("pads") if pads is None else ints(node, pads, "the widths")
    dims = list(range(data.dim())) if axes is None else ints(node, axes, "axes")
    filled = node.get("value", 0.0) if value is None else number(node, value, "the value")
    count = len(dims)
    by_dim = {int(d) % data.dim(): (widths[i], widths[i + count]) for i, d in enumerate(dims)}
    return padded(node, data, by_dim, node.get("mode", "constant"), filled)


def padded(node: OnnxNode, x: torch.Tensor, by_dim: dict[int, Any], mode: str, value: Any) -> Any:
    """Pad dimensions, all at once with a value, or one by one with elements of the tensor."""
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    if mode == "constant":
        last = max((d for d, pair in by_dim.items() if any(pair)), default=None)
        if last is None:
            return x
        first = min(d for d, pair in by_dim.items() if any(pair))
        pairs = [by_dim.get(d, (0, 0)) for d in range(x.dim() - 1, first - 1, -1)]
        if x.dtype == torch.bool:
            value = bool(value)
        elif not x.is_floating_point():
            value = int(value)
        return F.pad(x, [width for pair in pairs for width in pair], "constant", value)
    for dim, pair in by_dim.items():
        if any(pair):
            turned = x.movedim(dim, -1)
            rows = F.pad(turned.reshape(1, -1, turned.shape[-1]), list(pair), modes[mode])
            x = rows.reshape(*turned.shape[:-1], rows.shape[-1]).movedim(-1, dim)
    return x


def _depth_to_space(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
    data, block = tensor(x), node.get("blocksize")
    if node.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(data, block)
    n, c, h, w = data.shape
    parts = data.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(n, c // block**2, h * block, w * block)


def _space_to_depth(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
    data, block = tensor(x), node.get("blocksize")
    n, c, h, w = data.shape
    parts = data.reshape(n, c, h // block, block, w // block, block)
    depth_first = node.get("mode", "DCR") == "DCR"
    parts = parts.permute((0, 3, 5, 1, 2, 4) if depth_first else (0, 1, 3, 5, 2, 4))
    return parts.reshape(n, c * block**2, h // block, w // block)


def _center_crop_pad(node: OnnxNode, x: OnnxValue, shape: OnnxValue) -> torch.Tensor:
    data = tensor(x)
    dims = node.get("axes", list(range(data.dim())))
    widths = {}
    for dim, wanted in zip(dims, ints(node, shape, "the shape"), strict=True):
        more = wanted - data.shape[dim]
        before = more // 2 if more > 0 else -((-more) // 2)
        widths[dim % data.dim()] = (before, more - before)
    return padded(node, data, widths, "constant", 0)


OPERATORS: dict[str, OnnxOperator] = {
    "Reshape": OnnxOperator(_reshape, plain=(1,), on_sizes=_reshape_sizes),
    "Transpose": OnnxOperator(_transpose),
    "Squeeze": OnnxOperator(_squeeze, plain=(1,), on_sizes=_squeeze_sizes),
    "Unsqueeze": OnnxOperator(_unsqueeze, plain=(1,), on_sizes=_unsqueeze_sizes),
    "Flatten": OnnxOperator(_flatten),
    "Concat": OnnxOperator(_concat, on_sizes=_concat_sizes),
    "Split": OnnxOperator(_split, plain=(1,), on_sizes=_split_sizes),
    "Expand": OnnxOperator(_expand, plain=(1,)),
    "Tile": OnnxOperator(_tile, plain=(1,)),
    "Pad": OnnxOperator(_pad, plain=(1, 2, 3)),
    "Identity": OnnxOperator(lambda node, x: x, on_sizes=lambda node, x: x),
    "DepthToSpace": OnnxOperator(_depth_to_space),
    "SpaceToDepth": OnnxOperator(_space_to_depth),
    "CenterCropPad": OnnxOperator(_center_crop_pad, plain=(1,)),
}
