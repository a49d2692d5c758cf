"""Attention, and turning queries and keys by their position."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import OnnxValue, dtype_of, tensor


def _with_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Return (batch, heads, length, size) of (batch, length, heads * size)."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def attention(node: OnnxNode, *given: OnnxValue) -> Any:
    """Compute ``Attention``: shared keys, masks, caches, windows, limits of the scores."""
    values = [None if v is None else tensor(v) for v in given]
    query, key, value, mask, past_key, past_value, lengths = [*values, *[None] * 7][:7]
    assert query is not None and key is not None and value is not None
    flat = query.dim() == 3
    if flat:
        query = _with_heads(query, node.get("q_num_heads"))
        key, value = (_with_heads(x, node.get("kv_num_heads")) for x in (key, value))
    past = 0 if past_key is None else past_key.shape[2]
    if past_key is not None and past_value is not None:
        key, value = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)
    present = key, value
    if query.shape[1] != key.shape[1]:
        copies = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(copies, 1) for x in (key, value))
    others = [name for name in node.outputs[1:] if name]
    special = any(node.get(name) for name in ("softcap", "softmax_precision"))
    special |= node.get("left_window_size", -1) >= 0 or node.get("right_window_size", -1) >= 0
    scores = None
    if mask is None and lengths is None and not special and not others and not past:
        causal = bool(node.get("is_causal", 0))
        found = F.scaled_dot_product_attention(
            query, key, value, is_causal=causal, scale=node.get("scale")
        )
    else:
        bias = _bias(node, query, key, mask, lengths, past)
        found, scores = _weighted(node, query, key, value, bias)
    if flat:
        found = found.transpose(1, 2).flatten(2)
    return found, *present, scores


def _bias(
    node: OnnxNode,
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    lengths: torch.Tensor | None,
    past: int,
) -> torch.Tensor | None:
    """Return what is added to the scores: minus infinity where nothing is attended to."""
    queries, keys = query.shape[2], key.shape[2]
    allowed: torch.Tensor | None = None
    columns = torch.arange(keys)
    offset: Any = past
    if lengths is not None:
        ends = lengths.reshape(-1, 1, 1, 1)
        allowed = columns < ends
        offset = offset if past else ends - queries
    rows = torch.arange(queries).reshape(-1, 1) + offset
    limits = []
    if node.get("is_causal", 0):
        limits.append(columns <= rows)
    left, right = node.get("left_window_size", -1), node.get("right_window_size", -1)
    limits += [columns >= rows - left] if left >= 0 else []
    limits += [columns <= rows + right] if right >= 0 else []
    for limit in limits:
        allowed = limit if allowed is None else allowed & limit
    added: torch.Tensor | None = None
    if mask is not None:
        if mask.shape[-1] < keys:
            rest = keys - mask.shape[-1]
            mask = F.pad(mask, (0, rest), value=False if mask.dtype == torch.bool else -math.inf)
        if mask.dtype == torch.bool:
            allowed = mask if allowed is None else allowed & mask
        else:
            added = mask
    if allowed is None:
        return added
    zeros = torch.zeros(allowed.shape, dtype=query.dtype)
    blocked = torch.where(allowed, zeros, torch.full_like(zeros, -math.inf))
    return blocked if added is None else added + blocked


def _weighted(
    node: OnnxNode,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted values, and the scores at the stage that the node asks for."""
    root = math.sqrt(node.get("scale") or 1 / math.sqrt(query.shape[-1]))
    raw = (query * root) @ (key * root).transpose(-1, -2)
    cap = node.get("softcap", 0.0)
    capped = cap * torch.tanh(raw / cap) if cap else raw
    masked = capped if bias is None else capped + bias
    precision = node.get("softmax_precision", 0)
    wide = masked.to(dtype_of(node, precision)) if precision else masked
    shares = torch.softmax(wide, -1).to(query.dtype)
    if bias is not None:  # a query that attends to nothing gets zeros
        nothing = (masked == -math.inf).all(-1, keepdim=True)
        shares = torch.where(nothing, torch.zeros_like(shares), shares)
    stages = (raw, capped, masked, shares)
    return shares @ value, stages[node.get("qk_matmul_output_mode", 0)]


def rotary(
    node: OnnxNode, x: OnnxValue, cos: OnnxValue, sin: OnnxValue, positions: OnnxValue = None
) -> torch.Tensor:
    """Compute ``RotaryEmbedding``."""
    data, cosine, sine = tensor(x), tensor(cos), tensor(sin)
    flat = data.dim() == 3
    if flat:
        data = _with_heads(data, node.get("num_heads"))
    if positions is not None:
        where = tensor(positions).long()
        cosine, sine = F.embedding(where, cosine), F.embedding(where, sine)
    cosine, sine = cosine.unsqueeze(1), sine.unsqueeze(1)
    turned = node.get("rotary_embedding_dim", 0) or data.shape[-1]
    part, rest = data[..., :turned], data[..., turned:]
    if node.get("interleaved", 0):
        first, second = part[..., 0::2], part[..., 1::2]
    else:
        first, second = part.chunk(2, -1)
    real = cosine * first - sine * second
    imaginary = sine * first + cosine * second
    if node.get("interleaved", 0):
        part = torch.stack([real, imaginary], -1).flatten(-2)
    else:
        part = torch.cat([real, imaginary], -1)
    found = torch.cat([part, rest], -1) if rest.shape[-1] else part
    return found.transpose(1, 2).flatten(2) if flat else found


OPERATORS: dict[str, OnnxOperator] = {
    "Attention": OnnxOperator(attention),
    "RotaryEmbedding": OnnxOperator(rotary),
}
