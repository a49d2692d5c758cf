"""Attention."""

from __future__ import annotations

import math

import torch
from tvm import relax

from hwopt.compiler.lower.call import Call, Converter, Tensor

op = relax.op


def attention(
    call: Call,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Convert ``scaled_dot_product_attention``; a row without anything to attend to is NaN."""
    if dropout:
        raise call.refuse("dropout")
    rank, dtype = len(key.shape), query.dtype
    keys, values = call.plain(key), call.plain(value)
    if enable_gqa and query.shape[-3] != key.shape[-3]:
        copies = query.shape[-3] // key.shape[-3]
        keys, values = (call.emit(op.repeat(x, copies, rank - 3)) for x in (keys, values))
    turned = call.emit(op.permute_dims(keys, [*range(rank - 2), rank - 1, rank - 2]))
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scaled = call.emit(op.multiply(call.plain(query), call.number(factor, dtype)))
    scores = call.emit(op.matmul(scaled, turned))
    infinite = call.number(-math.inf, dtype)
    if is_causal:
        allowed = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool).tril()
        added = torch.zeros(allowed.shape).masked_fill(~allowed, -math.inf)
        scores = call.emit(op.add(scores, call.constant(added.to(getattr(torch, dtype)))))
    elif mask is not None and mask.dtype == "bool":
        scores = call.emit(op.where(call.plain(mask), scores, infinite))
    elif mask is not None:
        scores = call.emit(op.add(scores, call.plain(mask, dtype)))
    shares = call.emit(op.nn.softmax(scores, axis=-1))
    return call.result(call.emit(op.matmul(shares, values)))


CONVERTERS: dict[str, Converter] = {
    "scaled_dot_product_attention.default": attention,
}
