"""Residual networks for small images: ResNet-20 and ResNet-32, and one with Global layers."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from hwopt.layers import GlobalLayer
from hwopt.models.layers import classifier, conv_bn_relu, initialise
from hwopt.models.resnet import ResidualBlock


def _stage(in_channels: int, out_channels: int, stride: int, blocks: int) -> list[nn.Module]:
    first = ResidualBlock(in_channels, out_channels, stride, bias=False, shortcut_norm=True)
    others = [
        ResidualBlock(out_channels, out_channels, 1, bias=False, shortcut_norm=True)
        for _ in range(blocks - 1)
    ]
    return [first, *others]


class CifarResNet(nn.Sequential):
    """A 3x3 stem and three stages of residual blocks, of width, 2 and 4 times width.

    With 3 blocks a stage it is ResNet-20, with 5 ResNet-32 (He et al. 2015). Where the shape
    changes, the shortcut is a 1x1 convolution with batch norm.
    """

    def __init__(
        self, in_channels: int = 3, num_classes: int = 10, width: int = 16, blocks: int = 3
    ) -> None:
        """Make the model for inputs (N, in_channels, H, W)."""
        stages = []
        channels = width
        for index in range(3):
            out = width * 2**index
            stages.append(nn.Sequential(*_stage(channels, out, min(2, index + 1), blocks)))
            channels = out
        modules = {
            "stem": conv_bn_relu(in_channels, width, 3),
            "stages": nn.Sequential(*stages),
            "head": classifier(channels, num_classes),
        }
        super().__init__(OrderedDict(modules))
        initialise(self)


class ResNetGlobal(nn.Sequential):
    """ResNet-Global: four stages of one residual block, a Global layer behind the first three.

    Source: Kag and Saligrama 2022 (Condensing CNNs with partial differential equations), whose
    partner with convolutions is ResNet-32: 162K parameters, 168K for 100 classes, and 15M
    multiply-accumulates. The stages have width, 2, 4 and 4 times width.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        width: int = 16,
        blocks: int = 1,
        steps: int = 1,
    ) -> None:
        """Make the model for inputs (N, in_channels, H, W); ``steps`` of every Global layer."""
        stages = []
        channels = width
        for index, (factor, stride) in enumerate([(1, 1), (2, 2), (4, 2), (4, 2)]):
            out = width * factor
            layers = _stage(channels, out, stride, blocks)
            if index < 3:
                layers.append(GlobalLayer(out, steps))
            stages.append(nn.Sequential(*layers))
            channels = out
        modules = {
            "stem": conv_bn_relu(in_channels, width, 3),
            "stages": nn.Sequential(*stages),
            "head": classifier(channels, num_classes),
        }
        super().__init__(OrderedDict(modules))
        initialise(self)
