"""Residual networks: ResNet-8 of MLPerf Tiny, ResNet-18, and one to be made binary."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from hwopt.models.layers import classifier, conv_bn_relu, initialise


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut).

    The shortcut is the identity, or a 1x1 convolution where the shape changes, with a batch norm
    after it if ``shortcut_norm``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, *, bias: bool, shortcut_norm: bool
    ) -> None:
        """Make a block from (N, in_channels, H, W) to (N, out_channels, H/stride, W/stride)."""
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=bias)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=bias)
            self.shortcut.add_module("conv", conv)
            if shortcut_norm:
                self.shortcut.add_module("bn", nn.BatchNorm2d(out_channels))
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H/stride, W/stride)."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu2(y + self.shortcut(x))


class ResNet8(nn.Sequential):
    """ResNet-8 of MLPerf Tiny: a stem, three residual blocks of width, 2 and 4 times width.

    As published, convolutions have biases beside their batch norms, and the shortcuts have no
    norm. 78,666 parameters in Keras' counting at width 16.
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 10, width: int = 16) -> None:
        """Make the model for inputs (N, in_channels, H, W)."""
        stem = conv_bn_relu(in_channels, width, 3, bias=True)
        widths = [(width, width, 1), (width, 2 * width, 2), (2 * width, 4 * width, 2)]
        stages = [
            ResidualBlock(i, o, stride, bias=True, shortcut_norm=False) for i, o, stride in widths
        ]
        modules = {
            "stem": stem,
            "stages": nn.Sequential(*stages),
            "head": classifier(4 * width, num_classes),
        }
        super().__init__(OrderedDict(modules))
        initialise(self)


class ResNet18(nn.Sequential):
    """ResNet-18: 7x7 stem with max pooling, four stages of two residual blocks."""

    def __init__(self, in_channels: int = 3, num_classes: int = 1000, width: int = 64) -> None:
        """Make the model for inputs (N, in_channels, H, W), H and W at least 32."""
        stem = conv_bn_relu(in_channels, width, 7, stride=2)
        stem.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
        stages = []
        channels = width
        for index in range(4):
            out = width * 2**index
            first = ResidualBlock(
                channels, out, 1 if index == 0 else 2, bias=False, shortcut_norm=True
            )
            second = ResidualBlock(out, out, 1, bias=False, shortcut_norm=True)
            stages.append(nn.Sequential(first, second))
            channels = out
        modules = {
            "stem": stem,
            "stages": nn.Sequential(*stages),
            "head": classifier(channels, num_classes),
        }
        super().__init__(OrderedDict(modules))
        initialise(self)


class SingleConvBlock(nn.Module):
    """One 3x3 convolution beside a shortcut: relu(bn(conv(x)) + shortcut).

    Where the shape changes, the shortcut is a mean over the stride, a 1x1 convolution and a norm.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        """Make a block from (N, in_channels, H, W) to (N, out_channels, H/stride, W/stride)."""
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut.add_module("pool", nn.AvgPool2d(stride, ceil_mode=True))
            conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.shortcut.add_module("conv", conv)
            self.shortcut.add_module("bn", nn.BatchNorm2d(out_channels))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H/stride, W/stride)."""
        return self.relu(self.bn(self.conv(x)) + self.shortcut(x))


class SingleConvResNet20(nn.Sequential):
    """The network of BNEW (Paren et al. 2022) before it is made binary.

    A stem with max pooling, three stages of six residual blocks with one convolution each, of
    width, 2 and 4 times width. The pass ``binarize`` makes the published network of it: 275,786
    parameters, of which 267,264 are binary. Here it has 272,474, as signs need shifts, scales and
    slopes around them.
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 10, width: int = 16) -> None:
        """Make the model for inputs (N, in_channels, H, W)."""
        stem = OrderedDict[str, nn.Module](
            conv=nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
            bn=nn.BatchNorm2d(width),
            pool=nn.MaxPool2d(3, stride=2, padding=1),
        )
        stages = []
        channels = width
        for index in range(3):
            out = width * 2**index
            first = SingleConvBlock(channels, out, 1 if index == 0 else 2)
            others = [SingleConvBlock(out, out, 1) for _ in range(5)]
            stages.append(nn.Sequential(first, *others))
            channels = out
        modules = {
            "stem": nn.Sequential(stem),
            "stages": nn.Sequential(*stages),
            "head": classifier(channels, num_classes),
        }
        super().__init__(OrderedDict(modules))
        initialise(self)
