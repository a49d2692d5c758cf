"""Shapes, constants, and tensors that are made of them."""

from __future__ import annotations

import math

import numpy as np
import torch

from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import (
    OnnxValue,
    dtype_of,
    ints,
    number,
    sizes,
    tensor,
)


def _shape(node: OnnxNode, x: OnnxValue) -> np.ndarray:
    shape = list(x.shape) if isinstance(x, np.ndarray) else list(tensor(x).shape)
    return sizes(shape[slice(node.get("start", 0), node.get("end"))])


def _size(node: OnnxNode, x: OnnxValue) -> np.ndarray:
    return sizes([math.prod(tensor(x).shape)]).reshape(())


def _constant_of_shape(node: OnnxNode, shape: OnnxValue) -> torch.Tensor:
    value = node.get("value", np.zeros(1, np.float32))
    dtype = tensor(value).dtype
    return torch.full(ints(node, shape, "the shape"), value.reshape(-1)[0].item(), dtype=dtype)


def _constant(node: OnnxNode) -> np.ndarray:
    for name, value in node.attributes.items():
        if name in ("value", "sparse_value"):
            return np.asarray(value)
        if name in ("value_float", "value_floats"):
            return np.array(value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.array(value, np.int64)
    raise node.refuse("a constant of texts")


def _range(node: OnnxNode, start: OnnxValue, limit: OnnxValue, delta: OnnxValue) -> torch.Tensor:
    values = (start, limit, delta)
    found = [number(node, v, w) for v, w in zip(values, ("start", "limit", "delta"), strict=True)]
    return torch.arange(*found, dtype=tensor(start).dtype if start.dtype != object else torch.int64)


def _eye_like(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
    data = tensor(x)
    dtype = dtype_of(node, node.get("dtype")) if node.get("dtype") else data.dtype
    rows, columns = data.shape
    steps = torch.arange(columns)[None] - torch.arange(rows)[:, None]
    return (steps == node.get("k", 0)).to(dtype)


def _triangle(node: OnnxNode, x: OnnxValue, k: OnnxValue = None) -> torch.Tensor:
    function = torch.triu if node.get("upper", 1) else torch.tril
    return function(tensor(x), 0 if k is None else int(number(node, k, "k")))


OPERATORS: dict[str, OnnxOperator] = {
    "Shape": OnnxOperator(_shape, on_sizes=_shape),
    "Size": OnnxOperator(_size),
    "Constant": OnnxOperator(_constant),
    "ConstantOfShape": OnnxOperator(_constant_of_shape, plain=(0,)),
    "Range": OnnxOperator(_range, plain=(0, 1, 2)),
    "Trilu": OnnxOperator(_triangle, plain=(1,)),
    "EyeLike": OnnxOperator(_eye_like),
}
