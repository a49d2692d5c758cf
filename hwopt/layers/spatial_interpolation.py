"""Spatial interpolation: heavy layers on anchor pixels only, cheap ones on all others."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwopt.errors import HwoptError
from hwopt.graph.anchors import OPERATOR as interpolate_anchors


class AnchorMix(nn.Module):
    """Fill in what lies between anchors: a mix of interpolated anchors and a depthwise convolution.

    The share of the convolution is learned for every channel; it begins at a half. Our reading of
    the block of Kag's thesis (2023), of which no text was at hand.

    Args:
        channels: C of the input and of the anchors.
        stride: the distance of anchors, in pixels.

    Raises:
        HwoptError: if the stride is not positive.

    >>> mix = AnchorMix(4)
    >>> mix(torch.randn(2, 4, 7, 8), torch.randn(2, 4, 4, 4)).shape
    torch.Size([2, 4, 7, 8])
    """

    def __init__(self, channels: int, stride: int = 2) -> None:
        super().__init__()
        if stride < 1:
            raise HwoptError(f"the distance of anchors must be at least 1, not {stride}")
        self.stride = stride
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.mix = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor, anchors: Tensor) -> Tensor:
        """Map (N, C, H, W) and (N, C, ceil(H / stride), ceil(W / stride)) to (N, C, H, W)."""
        cheap = self.bn(self.conv(x))
        result: Tensor = interpolate_anchors(anchors, cheap, self.mix.sigmoid(), self.stride)
        return result


class SpatialInterpolation(nn.Module):
    """A residual block whose heavy path runs on every ``stride``-th pixel of rows and columns.

    x + :class:`AnchorMix` of x and the heavy path's anchors.

    Args:
        heavy: the path, from (N, C, h, w) to the same shape for any h and w.
        channels: C.
        stride: the distance of anchors, in pixels.

    >>> block = SpatialInterpolation(nn.Conv2d(4, 4, 3, padding=1), channels=4)
    >>> block(torch.randn(2, 4, 7, 8)).shape
    torch.Size([2, 4, 7, 8])
    """

    def __init__(self, heavy: nn.Module, channels: int, stride: int = 2) -> None:
        super().__init__()
        self.heavy, self.between = heavy, AnchorMix(channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        stride = self.between.stride
        result: Tensor = x + self.between(x, self.heavy(x[:, :, ::stride, ::stride]))
        return result
