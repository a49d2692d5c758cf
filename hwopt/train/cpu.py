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


def memory_format(model: nn.Module) -> torch.memory_format:
    """Return the order in which a model trains: channels last, which is fastest, where it is right.

    Of a strided 1x1 convolution with fewer input channels than a vector has numbers, oneDNN gets
    the gradient of the weights wrong in that order, writes where it must not, or never ends (its
    issue 6035). A model with such weights, strided or not, stays channels first.

    >>> memory_format(nn.Conv2d(4, 8, 1)), memory_format(nn.Conv2d(4, 8, 3))
    (torch.contiguous_format, torch.channels_last)
    """
    lanes = 16 if torch.cpu.get_capabilities().get("avx512_f", False) else 8
    weights = [p for p in model.parameters() if p.dim() == 4]
    few = any(p.shape[1] < lanes and tuple(p.shape[2:]) == (1, 1) for p in weights)
    return torch.contiguous_format if few else torch.channels_last


@contextlib.contextmanager
def weights_in(model: nn.Module, order: torch.memory_format) -> Iterator[None]:
    """Keep the 4-D weights in an order for a while."""
    weights = [p for p in model.parameters() if p.dim() == 4]
    for weight in weights:
        weight.data = weight.data.contiguous(memory_format=order)
    try:
        yield
    finally:
        for weight in weights:
            weight.data = weight.data.contiguous()
