"""Normalizations."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import OnnxValue, tensor

_AFFINE = {1: "weight", 2: "bias"}
_BATCH_NORM = {1: "weight", 2: "bias", 3: "running_mean", 4: "running_var"}


def _batch_norm(node: OnnxNode, x: OnnxValue, *given: OnnxValue) -> Any:
    data = tensor(x)
    scale, shift, mean, variance = (tensor(v) for v in given)
    if any(v.dtype != data.dtype for v in (scale, mean)):
        scale, shift, mean, variance = (v.to(data.dtype) for v in (scale, shift, mean, variance))
    eps = node.get("epsilon", 1e-5)
    if not node.get("spatial", 1):
        raise node.refuse("statistics of every pixel")
    if not node.get("training_mode", 0):
        return F.batch_norm(data, mean, variance, scale, shift, False, 0.1, eps)
    dims = [d for d in range(data.dim()) if d != 1]
    own_mean, own = data.mean(dims), data.var(dims, unbiased=False)
    momentum = node.get("momentum", 0.9)
    found = F.batch_norm(data, own_mean, own, scale, shift, False, 0.1, eps)
    after = [a * momentum + b * (1 - momentum) for a, b in ((mean, own_mean), (variance, own))]
    return (found, *after)


def _instance_norm(
    node: OnnxNode, x: OnnxValue, scale: OnnxValue, shift: OnnxValue
) -> torch.Tensor:
    data = tensor(x)
    groups = data.shape[1]
    return F.group_norm(data, groups, tensor(scale), tensor(shift), node.get("epsilon", 1e-5))


def layer_norm(
    node: OnnxNode, x: OnnxValue, scale: OnnxValue = None, shift: OnnxValue = None
) -> Any:
    """Compute ``LayerNormalization``: of all dimensions from one on."""
    data = tensor(x)
    axis, eps = node.get("axis", -1) % data.dim(), node.get("epsilon", 1e-5)
    shape = list(data.shape[axis:])
    weight, bias = (None if v is None else tensor(v) for v in (scale, shift))
    fits = all(v is None or list(v.shape) == shape for v in (weight, bias))
    if fits:
        found = F.layer_norm(data, shape, weight, bias, eps)
    else:
        found = F.layer_norm(data, shape, None, None, eps)
        found = found if weight is None else found * weight
        found = found if bias is None else found + bias
    if len(node.outputs) < 2:
        return found
    dims = list(range(axis, data.dim()))
    mean = data.mean(dims, keepdim=True)
    variance = data.var(dims, unbiased=False, keepdim=True)
    return found, mean, (variance + eps).rsqrt()


def rms_norm(node: OnnxNode, x: OnnxValue, scale: OnnxValue = None) -> torch.Tensor:
    """Compute ``RMSNormalization``."""
    data = tensor(x)
    dims = list(range(node.get("axis", -1) % data.dim(), data.dim()))
    square = (data * data).mean(dims, keepdim=True)
    found = data * (square + node.get("epsilon", 1e-5)).rsqrt()
    return found if scale is None else found * tensor(scale)


def _group_norm(node: OnnxNode, x: OnnxValue, scale: OnnxValue, shift: OnnxValue) -> torch.Tensor:
    data, groups, eps = tensor(x), node.get("num_groups"), node.get("epsilon", 1e-5)
    weight, bias = tensor(scale), tensor(shift)
    if weight.shape[0] == data.shape[1]:
        return F.group_norm(data, groups, weight, bias, eps)
    copies = data.shape[1] // groups  # before version 21 one number for each group
    wide, shifts = (v.repeat_interleave(copies) for v in (weight, bias))
    return F.group_norm(data, groups, wide, shifts, eps)


def _across_channels(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
    data, size = tensor(x), node.get("size")
    bias, alpha, beta = node.get("bias", 1.0), node.get("alpha", 1e-4), node.get("beta", 0.75)
    before = (size - 1) // 2
    squares = (data * data).flatten(2).unsqueeze(1)
    around = F.pad(squares, [0, 0, before, size - 1 - before])
    sums = F.avg_pool2d(around, (size, 1), 1).squeeze(1).reshape(data.shape) * size
    return data / (bias + alpha / size * sums) ** beta


def _mean_variance(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
    data, dims = tensor(x), node.get("axes", [0, 2, 3])
    left = data - data.mean(dims, keepdim=True)
    return left / ((left * left).mean(dims, keepdim=True).sqrt() + 1e-9)


def _lp_norm(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
    data, axis, p = tensor(x), node.get("axis", -1), node.get("p", 2)
    size = (
        data.abs().sum(axis, keepdim=True)
        if p == 1
        else (data * data).sum(axis, keepdim=True).sqrt()
    )
    return torch.where(size == 0, torch.zeros_like(data), data / size)


OPERATORS: dict[str, OnnxOperator] = {
    "BatchNormalization": OnnxOperator(_batch_norm, weights=_BATCH_NORM, buffers=(3, 4)),
    "InstanceNormalization": OnnxOperator(_instance_norm, weights=_AFFINE),
    "LayerNormalization": OnnxOperator(layer_norm, weights=_AFFINE),
    "RMSNormalization": OnnxOperator(rms_norm, weights={1: "weight"}),
    "SimplifiedLayerNormalization": OnnxOperator(rms_norm, weights={1: "weight"}),
    "GroupNormalization": OnnxOperator(_group_norm, weights=_AFFINE),
    "LRN": OnnxOperator(_across_channels),
    "MeanVarianceNormalization": OnnxOperator(_mean_variance),
    "LpNormalization": OnnxOperator(_lp_norm),
}
