"""Operators of state-space and linear-attention models, which take and return their states."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import OnnxValue, tensor


def _causal_conv(
    node: OnnxNode, x: OnnxValue, weight: OnnxValue, bias: OnnxValue = None, past: OnnxValue = None
) -> Any:
    """Compute ``CausalConvWithState``: depthwise, of what was there and what comes."""
    data, kernel = tensor(x), tensor(weight)
    width = kernel.shape[-1]
    if past is None:
        before = torch.zeros(*data.shape[:2], width - 1, dtype=data.dtype)
    else:
        before = tensor(past)
    whole = torch.cat([before, data], 2)
    added = None if bias is None else tensor(bias)
    found = F.conv1d(whole, kernel, added, groups=data.shape[1])
    if node.get("activation", "none") in ("silu", "swish"):
        found = F.silu(found)
    return found, whole.narrow(2, whole.shape[2] - (width - 1), width - 1)


def _linear_attention(
    node: OnnxNode,
    query: OnnxValue,
    key: OnnxValue,
    value: OnnxValue,
    past: OnnxValue = None,
    decay: OnnxValue = None,
    beta: OnnxValue = None,
) -> Any:
    """Compute ``LinearAttention``, one step after the other."""
    heads, shared = node.get("q_num_heads"), node.get("kv_num_heads")
    q = tensor(query).unflatten(2, (heads, -1))
    k, v = (tensor(x).unflatten(2, (shared, -1)) for x in (key, value))
    rule = node.get("update_rule", "gated_delta")
    rates = None if beta is None else tensor(beta)
    gates = None if decay is None else tensor(decay)
    if gates is not None:
        gates = gates.unflatten(2, (shared, -1)).exp()  # one for each head, or for each number
    batch, steps = q.shape[:2]
    if past is None:
        state = torch.zeros(batch, shared, k.shape[-1], v.shape[-1], dtype=q.dtype)
    else:
        state = tensor(past)
    scale = node.get("scale", 0.0) or 1 / math.sqrt(q.shape[-1])
    outputs = []
    for t in range(steps):
        if gates is not None and rule in ("gated", "gated_delta"):
            state = state * gates[:, t].unsqueeze(-1)
        now_k, now_v = k[:, t].unsqueeze(-1), v[:, t].unsqueeze(-2)
        if rule in ("delta", "gated_delta"):
            now_v = now_v - now_k.transpose(-1, -2) @ state
            if rates is not None:
                now_v = now_v * rates[:, t].reshape(batch, -1, 1, 1)
        state = state + now_k * now_v
        wide = state.repeat_interleave(heads // shared, 1) if heads != shared else state
        outputs.append((q[:, t].unsqueeze(-2) @ wide).squeeze(-2).flatten(1) * scale)
    return torch.stack(outputs, 1), state


OPERATORS: dict[str, OnnxOperator] = {
    "CausalConvWithState": OnnxOperator(_causal_conv, weights={1: "weight", 2: "bias"}),
    "LinearAttention": OnnxOperator(_linear_attention),
}
