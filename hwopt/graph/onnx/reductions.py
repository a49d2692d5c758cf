"""Reductions, running sums, and what sorting finds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from hwopt.graph.onnx.movement import axes_of
from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import OnnxValue, number, tensor

Reduction = Callable[[torch.Tensor, list[int], bool], torch.Tensor]


def _reduce(function: Reduction, on_sizes: Callable[..., Any] | None = None) -> OnnxOperator:
    """Return a reduction over some axes, by default all."""

    def run(node: OnnxNode, x: OnnxValue, axes: OnnxValue = None) -> torch.Tensor:
        data, dims = tensor(x), axes_of(node, axes)
        if not dims:
            if node.get("noop_with_empty_axes", 0):
                return function(data.unsqueeze(0), [0], False)
            dims = list(range(data.dim()))
        if not dims:
            return function(data.reshape(1), [0], False)
        return function(data, [d % data.dim() for d in dims], bool(node.get("keepdims", 1)))

    def sizes(node: OnnxNode, x: np.ndarray, axes: OnnxValue = None) -> np.ndarray:
        assert on_sizes is not None
        found = on_sizes(x.reshape(-1))
        return np.array([found] if node.get("keepdims", 1) else found, object)

    return OnnxOperator(run, plain=(1,), on_sizes=sizes if on_sizes else None)


def _product(x: torch.Tensor, dims: list[int], keepdim: bool) -> torch.Tensor:
    for dim in sorted(dims, reverse=True):
        x = x.prod(dim, keepdim=keepdim, dtype=x.dtype)
    return x


def _sum(x: torch.Tensor, dims: list[int], keepdim: bool) -> torch.Tensor:
    return x.sum(dims, keepdim=keepdim, dtype=x.dtype)


def _mean(x: torch.Tensor, dims: list[int], keepdim: bool) -> torch.Tensor:
    if x.is_floating_point():
        return x.mean(dims, keepdim=keepdim)
    count = math.prod(x.shape[d] for d in dims)
    return torch.div(_sum(x, dims, keepdim), count, rounding_mode="trunc")


def _extreme(is_max: bool) -> Reduction:
    def run(x: torch.Tensor, dims: list[int], keepdim: bool) -> torch.Tensor:
        if any(x.shape[d] == 0 for d in dims):
            shape = [
                1 if d in dims else n for d, n in enumerate(x.shape) if keepdim or d not in dims
            ]
            return torch.full(shape, _least(x.dtype, is_max), dtype=x.dtype)
        return (torch.amax if is_max else torch.amin)(x, dims, keepdim)

    return run


def _least(dtype: torch.dtype, is_max: bool) -> Any:
    if dtype.is_floating_point:
        return -math.inf if is_max else math.inf
    if dtype == torch.bool:
        return not is_max
    return torch.iinfo(dtype).min if is_max else torch.iinfo(dtype).max


def _log_sum_exp(x: torch.Tensor, dims: list[int], keepdim: bool) -> torch.Tensor:
    if x.is_floating_point():
        return torch.logsumexp(x, dims, keepdim)
    return torch.logsumexp(x.double(), dims, keepdim).to(x.dtype)


def _as_float(function: Reduction) -> Reduction:
    """Compute in float64 what whole numbers have no roots and logarithms of."""

    def run(x: torch.Tensor, dims: list[int], keepdim: bool) -> torch.Tensor:
        if x.is_floating_point():
            return function(x, dims, keepdim)
        return function(x.double(), dims, keepdim).to(x.dtype)

    return run


def _place(is_max: bool) -> OnnxOperator:
    def run(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
        data, axis = tensor(x), node.get("axis", 0)
        function = torch.argmax if is_max else torch.argmin
        keep = bool(node.get("keepdims", 1))
        if not node.get("select_last_index", 0):
            return function(data, axis, keepdim=keep)
        return data.shape[axis] - 1 - function(data.flip(axis), axis, keepdim=keep)

    return OnnxOperator(run)


def _running(function: Callable[..., torch.Tensor], neutral: int) -> OnnxOperator:
    """Return a running sum or product, from either end, with or without the element itself."""

    def run(node: OnnxNode, x: OnnxValue, axis: OnnxValue) -> torch.Tensor:
        data, dim = tensor(x), int(number(node, axis, "the axis"))
        if node.get("reverse", 0):
            data = data.flip(dim)
        found = function(data, dim, dtype=data.dtype)
        if node.get("exclusive", 0):
            first = torch.full_like(found.narrow(dim, 0, 1), neutral)
            found = torch.cat([first, found.narrow(dim, 0, found.shape[dim] - 1)], dim)
        return found.flip(dim) if node.get("reverse", 0) else found

    return OnnxOperator(run, plain=(1,))


def _top_k(node: OnnxNode, x: OnnxValue, k: OnnxValue = None) -> Any:
    """Compute ``TopK``: of equal numbers the first ones, which torch's own does not promise."""
    count = node.get("k") if k is None else int(number(node, k, "k"))
    axis, largest = node.get("axis", -1), bool(node.get("largest", 1))
    values, places = torch.sort(tensor(x), stable=True, dim=axis, descending=largest)
    return values.narrow(axis, 0, count), places.narrow(axis, 0, count)


def _non_zero(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
    if isinstance(x, torch.Tensor):
        raise node.refuse("how much it returns depends on an input of the model, which")
    return torch.from_numpy(np.stack(np.nonzero(np.atleast_1d(x))))


def _unique(node: OnnxNode, x: OnnxValue) -> Any:
    if isinstance(x, torch.Tensor):
        raise node.refuse("how much it returns depends on an input of the model, which")
    axis = node.get("axis")
    values, first, inverse, counts = np.unique(x, True, True, True, axis=axis)
    inverse = inverse.reshape(-1)
    if not node.get("sorted", 1):
        order = np.argsort(first)
        values = np.take(values, order, axis or 0)
        first, counts, inverse = first[order], counts[order], np.argsort(order)[inverse]
    return tuple(
        torch.from_numpy(np.ascontiguousarray(v)) for v in (values, first, inverse, counts)
    )


OPERATORS: dict[str, OnnxOperator] = {
    "ReduceSum": _reduce(_sum),
    "ReduceProd": _reduce(_product, np.prod),
    "ReduceMean": _reduce(_mean),
    "ReduceMax": _reduce(_extreme(is_max=True)),
    "ReduceMin": _reduce(_extreme(is_max=False)),
    "ReduceL1": _reduce(lambda x, dims, keep: _sum(x.abs(), dims, keep)),
    "ReduceL2": _reduce(_as_float(lambda x, dims, keep: (x * x).sum(dims, keep).sqrt())),
    "ReduceLogSum": _reduce(_as_float(lambda x, dims, keep: x.sum(dims, keep).log())),
    "ReduceLogSumExp": _reduce(_log_sum_exp),
    "ReduceSumSquare": _reduce(lambda x, dims, keep: _sum(x * x, dims, keep)),
    "ArgMax": _place(is_max=True),
    "ArgMin": _place(is_max=False),
    "CumSum": _running(torch.cumsum, 0),
    "CumProd": _running(torch.cumprod, 1),
    "TopK": OnnxOperator(_top_k, plain=(1,)),
    "NonZero": OnnxOperator(_non_zero),
    "Unique": OnnxOperator(_unique),
}
