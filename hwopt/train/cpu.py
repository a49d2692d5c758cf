"""What makes training fast on a processor."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


def has_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


@contextlib.contextmanager
def set_threads(count: int | None) -> Iterator[None]:
    """Set torch's threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def channels_last(model: nn.Module) -> Iterator[None]:
    """Keep the 4-D weights in channels-last order for a while: convolutions run faster."""
    weights = [p for p in model.parameters() if p.dim() == 4]
    for weight in weights:
        weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for weight in weights:
            weight.data = weight.data.contiguous()
