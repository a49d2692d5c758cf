"""Attention and embeddings as ONNX Runtime's optimizer fuses them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
import torch.nn.functional as F

from hwopt.graph.onnx.attention import attention, rotary
from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.normalization import layer_norm
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import OnnxValue, tensor

#: What a masked score is in ONNX Runtime, unless the node says so.
_MASKED = -10000.0


def _plain(node: OnnxNode, **attributes: Any) -> OnnxNode:
    """Return a node of ONNX's own attention."""
    if node.get("scale"):
        attributes["scale"] = node.get("scale")
    return dataclasses.replace(node, op="Attention", attributes=attributes)


def multi_head(node: OnnxNode, *given: OnnxValue) -> Any:
    """Compute ``MultiHeadAttention``: of packed heads, with a bias of all three and a mask."""
    query, key, value, bias, mask, added, past_key, past_value = [*given, *[None] * 8][:8]
    if key is None or value is None:
        raise node.refuse("packed queries, keys and values")
    if tensor(key).dim() != 3:
        raise node.refuse("keys that are split into heads")
    heads = node.get("num_heads")
    parts = [tensor(v) for v in (query, key, value)]
    if bias is not None:
        sizes = [part.shape[-1] for part in parts]
        parts = [x + b for x, b in zip(parts, tensor(bias).split(sizes), strict=True)]
    causal = node.get("unidirectional", 0)
    plain = _plain(node, q_num_heads=heads, kv_num_heads=heads, is_causal=causal)
    keys = parts[1].shape[1] + (0 if past_key is None else tensor(past_key).shape[2])
    total = _added(node, mask, added, keys)
    return attention(plain, *parts, total, past_key, past_value)


def _packed(node: OnnxNode, *given: OnnxValue) -> Any:
    """Compute ``Attention``, whose queries, keys and values are one product."""
    x, weight, bias, mask, past, added, length = [*given, *[None] * 7][:7]
    if length is not None or node.get("do_rotary", 0) or node.get("past_present_share_buffer", 0):
        raise node.refuse("rotary positions, or a buffer that past and present share,")
    made = tensor(x) @ tensor(weight)
    if bias is not None:
        made = made + tensor(bias)
    sizes = node.get("qkv_hidden_sizes") or [made.shape[-1] // 3] * 3
    query, key, value = made.split(list(sizes), -1)
    heads, causal = node.get("num_heads"), node.get("unidirectional", 0)
    plain = _plain(node, q_num_heads=heads, kv_num_heads=heads, is_causal=causal)
    before = [None, None] if past is None else [*tensor(past)]
    keys = key.shape[1] + (0 if past is None else tensor(past).shape[3])
    total = _added(node, mask, added, keys)
    found, key, value, _ = attention(plain, query, key, value, total, *before)
    return found, torch.stack([key, value])


def _added(node: OnnxNode, mask: OnnxValue, added: OnnxValue, keys: int) -> torch.Tensor | None:
    """Return what is added to the scores: of a mask of keys, and as it is given."""
    bias = None if added is None else tensor(added)
    if mask is None:
        return bias
    known = tensor(mask)
    if known.dim() == 1:  # how many keys count, of each row
        known = (torch.arange(keys) < known.reshape(-1, 1)).to(torch.int32)
    if known.dim() not in (2, 3) or known.shape[-1] != keys:
        raise node.refuse("a mask of this shape")
    low = node.get("mask_filter_value", _MASKED)
    blocked = (1 - known.to(torch.float32)) * low
    blocked = blocked[:, None, None] if known.dim() == 2 else blocked[:, None]
    return blocked if bias is None else blocked + bias


def _embedded(node: OnnxNode, *given: OnnxValue) -> Any:
    """Compute ``EmbedLayerNormalization``: words, positions, segments, and their norm."""
    ids, segments, words, places, parts, gamma, beta, mask, positions = [*given, *[None] * 9][:9]
    chosen = tensor(ids).long()
    where = torch.arange(chosen.shape[1]) if positions is None else tensor(positions).long()
    total = F.embedding(chosen, tensor(words)) + F.embedding(where, tensor(places))
    if segments is not None and parts is not None:
        total = total + F.embedding(tensor(segments).long(), tensor(parts))
    plain = OnnxNode(
        node.op, node.version, node.name, (), ("",), {"epsilon": node.get("epsilon", 1e-12)}
    )
    counts = torch.zeros(chosen.shape[0], dtype=torch.int32)
    if mask is not None:
        counts = tensor(mask).sum(1, dtype=torch.int32)
    return layer_norm(plain, total, gamma, beta), counts, total


def _turned(
    node: OnnxNode, x: OnnxValue, positions: OnnxValue, cos: OnnxValue, sin: OnnxValue
) -> torch.Tensor:
    """Compute ``RotaryEmbedding``; positions are one for each, or that of the first."""
    if node.get("is_packed_batching", 0) or not math.isclose(node.get("scale", 1.0), 1.0):
        raise node.refuse("packed batches, or a scale,")
    data, where = tensor(x), tensor(positions)
    if where.numel() == 1 and where.dim() == 1:
        length = data.shape[2] if data.dim() == 4 else data.shape[1]
        where = (where + torch.arange(length)).expand(data.shape[0], -1)
    heads = node.get("num_heads", 0) or data.shape[-1] // (2 * tensor(cos).shape[-1])
    plain = dataclasses.replace(node, attributes={**node.attributes, "num_heads": heads})
    return rotary(plain, data, cos, sin, where)


OPERATORS = {
    "Attention": OnnxOperator(_packed, weights={1: "weight", 2: "bias"}),
    "MultiHeadAttention": OnnxOperator(multi_head),
    "EmbedLayerNormalization": OnnxOperator(
        _embedded,
        weights={2: "words", 3: "positions", 4: "segments", 5: "weight", 6: "bias"},
    ),
    "RotaryEmbedding": OnnxOperator(_turned, weights={2: "cos", 3: "sin"}, buffers=(2, 3)),
}
