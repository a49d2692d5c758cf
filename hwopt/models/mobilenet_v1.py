"""MobileNetV1 and its quarter-width form of MLPerf Tiny (visual wake words)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from hwopt.models.layers import classifier, conv_bn_relu, depthwise_separable, initialise

# (output channels at full width, stride) of the thirteen depthwise-separable blocks
_BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
_BLOCKS += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]


class MobileNetV1(nn.Sequential):
    """A 3x3 stem and thirteen depthwise-separable blocks, 1/32 of the size at the end."""

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        width_multiplier: float = 1.0,
        *,
        bias: bool = False,
    ) -> None:
        """Make the model for inputs (N, in_channels, H, W); ``bias`` is for the convolutions."""
        channels = max(1, int(32 * width_multiplier))
        stem = conv_bn_relu(in_channels, channels, 3, stride=2, bias=bias)
        stages = []
        for full_width, stride in _BLOCKS:
            out = max(1, int(full_width * width_multiplier))
            stages.append(depthwise_separable(channels, out, stride=stride, bias=bias))
            channels = out
        modules = {
            "stem": stem,
            "stages": nn.Sequential(*stages),
            "head": classifier(channels, num_classes),
        }
        super().__init__(OrderedDict(modules))
        initialise(self)


def mobilenet_v1_025(
    in_channels: int = 3, num_classes: int = 2, width_multiplier: float = 0.25
) -> MobileNetV1:
    """Return MLPerf Tiny's variant, whose convolutions have biases beside their batch norms."""
    return MobileNetV1(in_channels, num_classes, width_multiplier, bias=True)
