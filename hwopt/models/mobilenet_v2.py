"""MobileNetV2, for large images and for small ones, and with its repeated blocks substituted."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from torch import Tensor, nn

from hwopt.layers import GlobalLayer, SpatialInterpolation
from hwopt.models.layers import classifier, initialise

#: Expansion, output channels at full width, blocks and stride of every stage.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM, _LAST = 32, 1280


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; the input is added where the shape stays the same."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        """Make a block from (N, in_channels, H, W) to (N, out_channels, H/stride, W/stride)."""
        super().__init__()
        self.path = heavy_path(in_channels, out_channels, stride, expansion)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H/stride, W/stride)."""
        y: Tensor = self.path(x)
        return x + y if self.is_residual else y


class GlobalStage(nn.Module):
    """A Global layer that begins at what a block makes of the input."""

    def __init__(self, start: nn.Module, channels: int) -> None:
        """Make the stage for (N, channels, H, W); the diffusivity is 1."""
        super().__init__()
        self.start = start
        self.layer = GlobalLayer(channels, diffusivity=1.0, activation=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to the same shape."""
        result: Tensor = self.layer(x, self.start(x))
        return result


class MobileNetV2(nn.Sequential):
    """A stem and seventeen inverted residual blocks (Sandler et al. 2018), torchvision's variant.

    Args:
        in_channels, num_classes: of the input and the output.
        width_multiplier: of all channels, which are rounded to multiples of 8.
        reduction: by how much rows and columns become fewer: 32, or a smaller power of 2 for small
            images; the first strides become 1.
        substituted: blocks that repeat a stage's first become one Global layer (Kag and Saligrama
            2022), which begins at a block with spatial interpolation (Kag 2023).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        width_multiplier: float = 1.0,
        reduction: int = 32,
        *,
        substituted: bool = False,
    ) -> None:
        """Make the model for inputs (N, in_channels, H, W)."""
        strides = _strides(reduction)
        channels = _channels(_STEM, width_multiplier)
        stem = _conv_norm(in_channels, channels, 3, strides[0])
        stages = []
        for (expansion, full_width, blocks, _), stride in zip(_STAGES, strides[1:], strict=True):
            out = _channels(full_width, width_multiplier)
            layers: list[nn.Module] = [InvertedResidual(channels, out, stride, expansion)]
            if substituted and blocks > 1:
                path = heavy_path(out, out, 1, expansion)
                layers.append(GlobalStage(SpatialInterpolation(path, out), out))
            else:
                widths = pairwise([out] * blocks)
                layers += [InvertedResidual(a, b, 1, expansion) for a, b in widths]
            stages.append(nn.Sequential(*layers))
            channels = out
        last = _channels(_LAST, max(1.0, width_multiplier))
        modules = {
            "stem": stem,
            "stages": nn.Sequential(*stages),
            "last": _conv_norm(channels, last, 1),
            "head": classifier(last, num_classes),
        }
        super().__init__(OrderedDict(modules))
        initialise(self)


def mobilenet_v2_substituted(
    in_channels: int = 3,
    num_classes: int = 1000,
    width_multiplier: float = 1.0,
    reduction: int = 32,
) -> MobileNetV2:
    """Return the variant with Global layers and spatial interpolation."""
    return MobileNetV2(in_channels, num_classes, width_multiplier, reduction, substituted=True)


def heavy_path(in_channels: int, out_channels: int, stride: int, expansion: int) -> nn.Sequential:
    """Return 1x1 ``expand`` (unless the expansion is 1), 3x3 ``depthwise``, 1x1 ``project``."""
    hidden = in_channels * expansion
    modules: dict[str, nn.Module] = {}
    if expansion > 1:
        modules["expand"] = _conv_norm(in_channels, hidden, 1)
    modules["depthwise"] = _conv_norm(hidden, hidden, 3, stride, groups=hidden)
    modules["project"] = _conv_norm(hidden, out_channels, 1, activation=False)
    return nn.Sequential(OrderedDict(modules))


def _conv_norm(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    activation: bool = True,
) -> nn.Sequential:
    conv = nn.Conv2d(
        in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
    )
    modules: dict[str, nn.Module] = {"conv": conv, "bn": nn.BatchNorm2d(out_channels)}
    if activation:
        modules["relu"] = nn.ReLU6()
    return nn.Sequential(OrderedDict(modules))


def _channels(full: int, width_multiplier: float) -> int:
    """Return the nearest multiple of 8 that is not more than a tenth smaller, as published."""
    wanted = full * width_multiplier
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _strides(reduction: int) -> list[int]:
    """Return the strides of the stem and all stages; those that are not needed are 1."""
    strides = [2, *(stride for *_, stride in _STAGES)]
    product = 32
    for place, stride in enumerate(strides):
        if product > reduction and stride > 1:
            strides[place], product = 1, product // stride
    return strides
