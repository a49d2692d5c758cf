"""Operators of ONNX Runtime's own domain that its optimizer and its quantizer write."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from hwopt.graph.onnx import microsoft_attention
from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.normalization import layer_norm, rms_norm
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.quantization import dequantized, dynamically, matmul_integer, quantized
from hwopt.graph.onnx.recurrent import prepare
from hwopt.graph.onnx.values import OnnxValue, tensor

DOMAIN = "com.microsoft"


def _fused_matmul(node: OnnxNode, x: OnnxValue, y: OnnxValue) -> torch.Tensor:
    first, second = tensor(x), tensor(y)
    if node.get("transBatchA", 0) or node.get("transBatchB", 0):
        raise node.refuse("transposed batches")
    first = first.transpose(-1, -2) if node.get("transA", 0) else first
    second = second.transpose(-1, -2) if node.get("transB", 0) else second
    alpha = node.get("alpha", 1.0)
    found = first @ second
    return found if alpha == 1 else found * alpha


def _bias_gelu(node: OnnxNode, x: OnnxValue, bias: OnnxValue) -> torch.Tensor:
    return F.gelu(tensor(x) + tensor(bias))


def _fast_gelu(node: OnnxNode, x: OnnxValue, bias: OnnxValue = None) -> torch.Tensor:
    data = tensor(x) if bias is None else tensor(x) + tensor(bias)
    return F.gelu(data, approximate="tanh")


def _quick_gelu(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
    data = tensor(x)
    return data * torch.sigmoid(node.get("alpha", 1.702) * data)


def _skip_layer_norm(node: OnnxNode, x: OnnxValue, skip: OnnxValue, *given: OnnxValue) -> Any:
    simplified = node.op.endswith("SkipSimplifiedLayerNormalization")
    weight = given[0] if given else None
    rest = list(given[1:])
    shift = None if simplified else (rest.pop(0) if rest else None)
    added = rest[0] if rest else None
    total = tensor(x) + tensor(skip)
    if added is not None:
        total = total + tensor(added)
    plain = OnnxNode(
        node.op, node.version, node.name, (), ("",), {"epsilon": node.get("epsilon", 1e-12)}
    )
    found = (
        rms_norm(plain, total, weight) if simplified else layer_norm(plain, total, weight, shift)
    )
    return found, None, None, total


def _matmul_integer_to_float(node: OnnxNode, *given: OnnxValue) -> torch.Tensor:
    x, y, x_scale, y_scale, *rest = given
    x_zero, y_zero, bias = [*rest, None, None, None][:3]
    found = matmul_integer(x, y, x_zero, y_zero).to(tensor(x_scale).dtype)
    found = found * tensor(x_scale) * tensor(y_scale)
    return found if bias is None else found + tensor(bias)


def _dynamic_matmul(
    node: OnnxNode, x: OnnxValue, y: OnnxValue, scale: OnnxValue, *rest: OnnxValue
) -> torch.Tensor:
    zero, bias = [*rest, None, None][:2]
    whole, step, offset = dynamically(tensor(x))
    found = matmul_integer(whole, y, offset, zero).to(step.dtype) * step * tensor(scale)
    return found if bias is None else found + tensor(bias)


def _dynamic_lstm(
    node: OnnxNode, given: list[Any]
) -> tuple[OnnxNode, list[Any], dict[int, str]] | None:
    """Return an LSTM of whole numbers as one of the floats that its weights mean.

    What ONNX Runtime rounds in every step, the input and the state, stays as it is here.
    """
    filled: list[Any] = [*given, *[None] * (12 - len(given))]
    x, w, r, bias, lengths, h, c, peepholes, *scales = filled
    w_scale, w_zero, r_scale, r_zero = scales
    if not all(isinstance(v, np.ndarray) for v in (w, r, w_scale, r_scale)):
        raise node.refuse("weights that depend on an input of the model")
    # Weights lie transposed, (directions, inputs, gates), with a scale for all or for each gate.
    whole = [
        np.ascontiguousarray(_floats(value, scale, zero).swapaxes(1, 2))
        for value, scale, zero in ((w, w_scale, w_zero), (r, r_scale, r_zero))
    ]
    plain = dataclasses.replace(node, op="LSTM")
    return prepare(plain, [x, *whole, bias, lengths, h, c, peepholes])


def _floats(value: np.ndarray, scale: np.ndarray, zero: np.ndarray | None) -> np.ndarray:
    def wide(one: np.ndarray) -> np.ndarray:
        return one.reshape(len(value), 1, -1) if one.size > 1 else one

    numbers = value.astype(np.float32)
    if zero is not None:
        numbers = numbers - wide(zero).astype(np.float32)
    return np.asarray(numbers * wide(scale), np.float32)


def _unprepared(node: OnnxNode, *given: OnnxValue) -> Any:
    raise node.refuse("peepholes, lengths, or activations other than the usual ones")


def _quantized(function: Any, count: int) -> OnnxOperator:
    """Return an operator of whole numbers: computed of the floats that they mean."""

    def run(node: OnnxNode, *given: OnnxValue) -> torch.Tensor:
        triples = [given[3 * n : 3 * n + 3] for n in range(count)]
        scale, zero = [*given[3 * count :], None][:2]
        found = function(node, *(dequantized(node, *triple) for triple in triples))
        return quantized(node, found, scale, zero)

    return OnnxOperator(run)


def _leaky(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(x, node.get("alpha", 0.01))


def _pool_all(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    if node.get("channels_last", 0):
        raise node.refuse("the channels last")
    return x.mean(list(range(2, x.dim())), keepdim=True)


_NORM = {2: "weight", 3: "bias"}
OPERATORS: dict[str, OnnxOperator] = {
    f"{DOMAIN}.{name}": operator
    for name, operator in {
        **microsoft_attention.OPERATORS,
        "Gelu": OnnxOperator(lambda node, x: F.gelu(tensor(x))),
        "BiasGelu": OnnxOperator(_bias_gelu, weights={1: "bias"}),
        "FastGelu": OnnxOperator(_fast_gelu, weights={1: "bias"}),
        "QuickGelu": OnnxOperator(_quick_gelu),
        "LayerNormalization": OnnxOperator(layer_norm, weights={1: "weight", 2: "bias"}),
        "SkipLayerNormalization": OnnxOperator(_skip_layer_norm, weights={**_NORM, 4: "added"}),
        "SkipSimplifiedLayerNormalization": OnnxOperator(_skip_layer_norm, weights={2: "weight"}),
        "FusedMatMul": OnnxOperator(_fused_matmul, weights={1: "weight"}),
        "MatMulIntegerToFloat": OnnxOperator(_matmul_integer_to_float),
        "DynamicQuantizeMatMul": OnnxOperator(_dynamic_matmul),
        "DynamicQuantizeLSTM": OnnxOperator(_unprepared, prepare=_dynamic_lstm),
        "QLinearAdd": _quantized(lambda node, x, y: x + y, 2),
        "QLinearMul": _quantized(lambda node, x, y: x * y, 2),
        "QLinearSigmoid": _quantized(lambda node, x: x.sigmoid(), 1),
        "QLinearLeakyRelu": _quantized(_leaky, 1),
        "QLinearGlobalAveragePool": _quantized(_pool_all, 1),
    }.items()
}
