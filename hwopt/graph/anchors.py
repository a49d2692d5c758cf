"""Interpolation between anchor pixels, mixed with pixels that were cheap to compute."""

from __future__ import annotations

import torch
from torch import Tensor

from hwopt.errors import HwoptError
from hwopt.graph import composed

SCHEMA = "(Tensor anchors, Tensor cheap, Tensor weight, SymInt stride) -> Tensor"


def interpolate_anchors(anchors: Tensor, cheap: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return anchors at every ``stride``-th pixel; elsewhere a mix of anchors and cheap pixels.

    Between anchors stands (1 - w) u + w c: u is interpolated linearly along rows and columns, and
    is the last anchor behind it; c are the cheap pixels. Our reading of the block of Kag's thesis
    (2023), of which no text was at hand.

    Args:
        anchors: float (N, C, ceil(H / stride), ceil(W / stride)).
        cheap: float (N, C, H, W).
        weight: w of every channel, float (C, 1, 1), in [0, 1].
        stride: distance of anchors in pixels, at least 1.

    Returns:
        float (N, C, H, W).

    Raises:
        HwoptError: if the shapes do not fit each other.

    >>> anchors = torch.tensor([[[[0.0, 2.0, 6.0]]]])
    >>> cheap = torch.full((1, 1, 1, 6), 9.0)
    >>> interpolate_anchors(anchors, cheap, torch.zeros(1, 1, 1), 2)
    tensor([[[[0., 1., 2., 4., 6., 6.]]]])
    >>> interpolate_anchors(anchors, cheap, torch.ones(1, 1, 1), 2)
    tensor([[[[0., 9., 2., 9., 6., 9.]]]])
    """
    batch, channels, height, width = cheap.shape
    fitting = (batch, channels, -(-height // stride), -(-width // stride))
    if anchors.shape != fitting or weight.shape != (channels, 1, 1):
        raise HwoptError(
            f"interpolate_anchors: with cheap pixels {tuple(cheap.shape)} and stride {stride} "
            f"anchors must be {fitting} and weights {(channels, 1, 1)}, not "
            f"{tuple(anchors.shape)} and {tuple(weight.shape)}"
        )
    between = anchors
    for dim, size in ((2, height), (3, width)):
        between = _between(between, dim, size, stride)
    rows = torch.arange(height, device=cheap.device) % stride == 0
    columns = torch.arange(width, device=cheap.device) % stride == 0
    elsewhere = ~(rows[:, None] & columns)
    return torch.lerp(between, cheap, weight * elsewhere)


def _between(anchors: Tensor, dim: int, size: int, stride: int) -> Tensor:
    """Interpolate linearly along one dimension."""
    count = anchors.shape[dim]
    last = anchors.narrow(dim, count - 1, 1)
    following = torch.cat([anchors.narrow(dim, 1, count - 1), last], dim)
    steps = [torch.lerp(anchors, following, step / stride) for step in range(1, stride)]
    every = torch.stack([anchors, *steps], dim + 1).flatten(dim, dim + 1)
    return every.narrow(dim, 0, size)


OPERATOR = composed.define(interpolate_anchors, SCHEMA)
