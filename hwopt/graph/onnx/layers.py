"""Products and convolutions."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import OnnxValue, ints, tensor

WEIGHT_AND_BIAS = {1: "weight", 2: "bias"}
_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def spatial_pads(
    node: OnnxNode, x: torch.Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Any
) -> list[tuple[int, int]]:
    """Return the padding before and behind of each spatial dimension of a window's input."""
    rank, how = len(kernel), node.get("auto_pad", "NOTSET")
    if how == "VALID":
        return [(0, 0)] * rank
    if how == "NOTSET":
        pads = node.get("pads", [0] * 2 * rank)
        return list(zip(pads[:rank], pads[rank:], strict=True))
    found = []
    for size, k, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size)
        less, more = total // 2, total - total // 2
        found.append((less, more) if how == "SAME_UPPER" else (more, less))
    return found


def windows(node: OnnxNode, rank: int) -> tuple[list[int], list[int]]:
    """Return strides and dilations."""
    return node.get("strides", [1] * rank), node.get("dilations", [1] * rank)


def with_padding(
    x: torch.Tensor, pads: list[tuple[int, int]], value: Any = 0
) -> tuple[torch.Tensor, list[int]]:
    """Return the padding that is the same before and behind; any other is put around the tensor."""
    if all(before == behind for before, behind in pads):
        return x, [before for before, _ in pads]
    return F.pad(x, list(itertools.chain(*pads[::-1])), value=value), [0] * len(pads)


def convolution(
    node: OnnxNode, x: OnnxValue, weight: OnnxValue, bias: OnnxValue = None, padding: Any = 0
) -> torch.Tensor:
    """Compute ``Conv``; what stands around the input is zero, or another number."""
    data, kernel = tensor(x), tensor(weight)
    rank = data.dim() - 2
    if rank not in _CONVOLUTIONS:
        raise node.refuse(f"{rank} spatial dimensions")
    strides, dilations = windows(node, rank)
    pads = spatial_pads(node, data, kernel.shape[2:], strides, dilations)
    data, around = with_padding(data, pads, padding)
    added = None if bias is None else tensor(bias)
    groups = node.get("group", 1)
    return _CONVOLUTIONS[rank](data, kernel, added, strides, around, dilations, groups)


def _transposed(
    node: OnnxNode, x: OnnxValue, weight: OnnxValue, bias: OnnxValue = None
) -> torch.Tensor:
    data, kernel = tensor(x), tensor(weight)
    rank = data.dim() - 2
    if rank not in _TRANSPOSED:
        raise node.refuse(f"{rank} spatial dimensions")
    strides, dilations = windows(node, rank)
    more = list(node.get("output_padding", [0] * rank))
    pads = _pads_of_transposed(node, data, kernel, strides, dilations, more)
    # What is cut off before and behind alike is the padding of torch.
    common = [max(0, min(pair)) for pair in pads]
    added = None if bias is None else tensor(bias)
    groups = node.get("group", 1)
    inner = [n if n < max(s, d) else 0 for n, s, d in zip(more, strides, dilations, strict=True)]
    found = _TRANSPOSED[rank](data, kernel, added, strides, common, inner, groups, dilations)
    widths = [
        (c - before, c - behind + outer - taken)
        for c, (before, behind), outer, taken in zip(common, pads, more, inner, strict=True)
    ]
    if not any(map(any, widths)):
        return found
    if any(width > 0 for pair in widths for width in pair) and added is not None:
        raise node.refuse("padding below zero and a bias")
    return F.pad(found, list(itertools.chain(*widths[::-1])))


def _pads_of_transposed(
    node: OnnxNode, x: torch.Tensor, weight: torch.Tensor, strides: Any, dilations: Any, more: Any
) -> list[tuple[int, int]]:
    """Return what is cut off before and behind; by the size of the result if that is given."""
    rank = x.dim() - 2
    full = [
        s * (n - 1) + p + (k - 1) * d + 1
        for n, s, p, k, d in zip(
            x.shape[2:], strides, more, weight.shape[2:], dilations, strict=True
        )
    ]
    wanted = node.get("output_shape")
    how = node.get("auto_pad", "NOTSET")
    if wanted is None and how in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
    if wanted is None:
        pads = node.get("pads", [0] * 2 * rank) if how == "NOTSET" else [0] * 2 * rank
        return list(zip(pads[:rank], pads[rank:], strict=True))
    totals = [f - w for f, w in zip(full, wanted[-rank:], strict=True)]
    if how == "SAME_UPPER":
        return [(total // 2, total - total // 2) for total in totals]
    return [(total - total // 2, total // 2) for total in totals]


def _product(node: OnnxNode, x: OnnxValue, y: OnnxValue) -> torch.Tensor:
    return tensor(x) @ tensor(y)


def _gemm(node: OnnxNode, x: OnnxValue, y: OnnxValue, added: OnnxValue = None) -> torch.Tensor:
    """Compute ``alpha * x @ y + beta * added``, as a linear layer where it is one."""
    first, second = tensor(x), tensor(y)
    first = first.t() if node.get("transA", 0) else first
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    bias = None if added is None else tensor(added)
    fits = bias is None or (bias.dim() == 1 and bias.shape[0] == second.shape[0])
    if node.get("transB", 0) and alpha == beta == 1 and fits:
        return F.linear(first, second, bias)
    found = first @ (second.t() if node.get("transB", 0) else second)
    found = found if alpha == 1 else _scaled(found, alpha)
    if bias is None:
        return found
    return found + (bias if beta == 1 else _scaled(bias, beta))


def _scaled(x: torch.Tensor, factor: float) -> torch.Tensor:
    return x * factor if x.is_floating_point() else (x * factor).to(x.dtype)


def _as_linear(
    node: OnnxNode, given: list[Any]
) -> tuple[OnnxNode, list[Any], dict[int, str]] | None:
    """Return a product with a known matrix as a linear layer, which has it transposed."""
    weight = given[1] if len(given) > 1 else None
    if not isinstance(weight, np.ndarray) or weight.ndim != 2:
        return None
    if not np.issubdtype(weight.dtype, np.floating) or node.get("transA", 0):
        return None
    bias = given[2] if len(given) > 2 else None
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    if bias is not None and (not isinstance(bias, np.ndarray) or bias.ndim > 2):
        return None
    turned = weight if node.get("transB", 0) else weight.T
    turned = np.ascontiguousarray(turned if alpha == 1 else turned * weight.dtype.type(alpha))
    inputs = [given[0], turned]
    if bias is not None:
        if bias.size not in (1, len(turned)) or (bias.ndim == 2 and bias.shape[0] != 1):
            return None
        scaled = bias if beta == 1 else bias * bias.dtype.type(beta)
        inputs.append(np.ascontiguousarray(np.broadcast_to(scaled.reshape(-1), (len(turned),))))
    named = dataclasses.replace(node, op="Linear", attributes={})
    return named, inputs, WEIGHT_AND_BIAS


def _linear(
    node: OnnxNode, x: OnnxValue, weight: OnnxValue, bias: OnnxValue = None
) -> torch.Tensor:
    return F.linear(tensor(x), tensor(weight), None if bias is None else tensor(bias))


def _einsum(node: OnnxNode, *values: OnnxValue) -> torch.Tensor:
    return torch.einsum(node.get("equation").replace(" ", ""), *map(tensor, values))


def _col2im(node: OnnxNode, x: OnnxValue, image: OnnxValue, block: OnnxValue) -> torch.Tensor:
    data, sizes = tensor(x), ints(node, image, "the size")
    kernel = ints(node, block, "the block")
    rank = len(sizes)
    strides, dilations = windows(node, rank)
    pads = node.get("pads", [0] * 2 * rank)
    batch, channels = data.shape[0], data.shape[1] // math.prod(kernel)
    outer = [n + pads[d] + pads[rank + d] for d, n in enumerate(sizes)]
    counts = [
        (n - d * (k - 1) - 1) // s + 1
        for n, d, k, s in zip(outer, dilations, kernel, strides, strict=True)
    ]
    # Where each element of each block lies in the padded image, counted through it.
    where = torch.zeros(*kernel, *counts, dtype=torch.int64)
    for axis in range(rank):
        shape = [1] * 2 * rank
        shape[axis] = kernel[axis]
        inside = torch.arange(kernel[axis]).reshape(shape) * dilations[axis]
        shape = [1] * 2 * rank
        shape[rank + axis] = counts[axis]
        where = (
            where * outer[axis] + inside + torch.arange(counts[axis]).reshape(shape) * strides[axis]
        )
    rows = data.reshape(batch * channels, -1)
    empty = torch.zeros(batch * channels, math.prod(outer), dtype=data.dtype)
    found = empty.index_add(1, where.reshape(-1), rows).reshape(batch, channels, *outer)
    for axis in range(rank):
        found = found.narrow(2 + axis, pads[axis], sizes[axis])
    return found


OPERATORS: dict[str, OnnxOperator] = {
    "Conv": OnnxOperator(convolution, weights=WEIGHT_AND_BIAS),
    "ConvTranspose": OnnxOperator(_transposed, weights=WEIGHT_AND_BIAS),
    "MatMul": OnnxOperator(_product, weights={0: "left", 1: "weight"}, prepare=_as_linear),
    "Gemm": OnnxOperator(_gemm, weights=WEIGHT_AND_BIAS, prepare=_as_linear),
    "Linear": OnnxOperator(_linear, weights=WEIGHT_AND_BIAS),
    "Einsum": OnnxOperator(_einsum),
    "Col2Im": OnnxOperator(_col2im, plain=(1, 2)),
}
