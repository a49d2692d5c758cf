"""Small versions of the structures that networks of the field have."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.token_architectures import (
    CLASSES,
    Mixer,
    ShiftedWindows,
    TextTransformer,
    VisionTransformer,
)

IMAGE = (3, 16, 16)


def block(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Module:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def head(channels: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


class Chain(nn.Module):
    """Blocks one after the other, then global pooling and a linear layer."""

    def __init__(self, channels: int, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.head = head(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(x))


def vgg() -> nn.Module:
    features = nn.Sequential(
        block(3, 16), nn.MaxPool2d(2), block(16, 24), nn.MaxPool2d(2), nn.Flatten()
    )
    classifier = nn.Sequential(nn.Linear(24 * 16, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 5))
    return nn.Sequential(features, classifier)


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.reduce = block(inputs, outputs // 2, 1)
        self.conv = block(outputs // 2, outputs // 2, 3, stride, groups)
        self.expand = nn.Sequential(
            nn.Conv2d(outputs // 2, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.expand(self.conv(self.reduce(x))) + self.shortcut(x))


def resnet() -> nn.Module:
    return Chain(32, block(3, 16), Bottleneck(16, 16), Bottleneck(16, 32, 2), Bottleneck(32, 32))


def resnext() -> nn.Module:
    blocks = (Bottleneck(16, 16, groups=4), Bottleneck(16, 32, 2, groups=4))
    return Chain(32, block(3, 16), *blocks)


class PreActivation(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        active = torch.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        return shortcut + self.conv2(torch.relu(self.norm2(self.conv1(active))))


def preactivation_resnet() -> nn.Module:
    stem = nn.Conv2d(3, 16, 3, padding=1)
    return Chain(24, stem, PreActivation(16, 16, 1), PreActivation(16, 24, 2), nn.BatchNorm2d(24))


class PaddedShortcut(nn.Module):
    """The shortcut without parameters of the first residual networks."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = block(inputs, outputs, 3, 2), block(outputs, outputs)
        self.added = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        half = self.added // 2
        shortcut = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, self.added - half))
        return torch.relu(self.conv2(self.conv1(x)) + shortcut)


def padded_resnet() -> nn.Module:
    return Chain(28, block(3, 12), PaddedShortcut(12, 20), PaddedShortcut(20, 28))


class DenseLayer(nn.Module):
    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(torch.relu(self.norm(x)))], 1)


def densenet() -> nn.Module:
    dense = [DenseLayer(16 + 8 * i, 8) for i in range(3)]
    transition = nn.Sequential(nn.BatchNorm2d(40), nn.ReLU(), nn.Conv2d(40, 20, 1))
    return Chain(28, block(3, 16), *dense, transition, nn.AvgPool2d(2), DenseLayer(20, 8))


class Inception(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.one = block(inputs, 8, 1)
        self.three = nn.Sequential(block(inputs, 6, 1), block(6, 8))
        self.five = nn.Sequential(block(inputs, 4, 1), block(4, 6, 5))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), block(inputs, 6, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


def googlenet() -> nn.Module:
    return Chain(28, block(3, 12), Inception(12), nn.MaxPool2d(2), Inception(28))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(channels, channels // 4), nn.Linear(channels // 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.up(functional.silu(self.down(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, *, squeeze: bool = False) -> None:
        super().__init__()
        wide = inputs * 4
        self.expand = block(inputs, wide, 1)
        self.depthwise = block(wide, wide, 3, stride, groups=wide)
        self.squeeze = SqueezeExcite(wide) if squeeze else nn.Identity()
        self.project = nn.Sequential(nn.Conv2d(wide, outputs, 1), nn.BatchNorm2d(outputs))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.squeeze(self.depthwise(self.expand(x))))
        return x + y if self.adds else y


def mobilenet_v2() -> nn.Module:
    blocks = (InvertedResidual(8, 8, 1), InvertedResidual(8, 12, 2), InvertedResidual(12, 12, 1))
    return Chain(24, block(3, 8), *blocks, block(12, 24, 1))


def efficientnet() -> nn.Module:
    blocks = [InvertedResidual(8, 8, 1, squeeze=True), InvertedResidual(8, 12, 2, squeeze=True)]
    return Chain(24, block(3, 8), *blocks, block(12, 24, 1))


class ShuffleUnit(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        depthwise = nn.Sequential(
            nn.Conv2d(half, half, 3, 1, 1, groups=half, bias=False), nn.BatchNorm2d(half)
        )
        self.branch = nn.Sequential(block(half, half, 1), depthwise, block(half, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, dim=1)
        x = torch.cat([kept, self.branch(changed)], 1)
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width)
        return x.transpose(1, 2).contiguous().view(batch, channels, height, width)


def shufflenet_v2() -> nn.Module:
    return Chain(32, block(3, 16), ShuffleUnit(16), block(16, 32, 3, 2), ShuffleUnit(32))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.middle = block(3, 8), block(8, 16), block(16, 24)
        self.up2 = nn.ConvTranspose2d(24, 16, 2, 2)
        self.merge2 = block(32, 16)
        self.up1 = nn.Upsample(scale_factor=2)
        self.merge1 = block(24, 8)
        self.out = nn.Conv2d(8, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(functional.max_pool2d(first, 2))
        x = self.middle(functional.max_pool2d(second, 2))
        x = self.merge2(torch.cat([self.up2(x), second], 1))
        x = self.merge1(torch.cat([self.up1(x), first], 1))
        return self.out(x).mean((2, 3))


class ConvNeXtBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width)
        )
        self.gamma = nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.gamma * self.mlp(y)).permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    return Chain(20, nn.Conv2d(3, 12, 2, 2), ConvNeXtBlock(12), block(12, 20), ConvNeXtBlock(20))


class Reshapes(nn.Module):
    """A CNN with functional reshapes, grouped norms and splits of unequal size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.norm = nn.GroupNorm(3, 12)
        self.slope = nn.PReLU(12)
        self.scale = nn.Parameter(torch.ones(12))
        self.wide = nn.Conv2d(12, 32, (2, 3), padding="same")
        self.narrow = nn.Conv2d(8, 10, 3, stride=2, padding=1)
        self.fc1, self.fc2 = nn.Linear(10 * 16 * 16, 12), nn.Linear(20, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.slope(self.norm(self.stem(x)))
        x = (x.flatten(2).contiguous().view_as(x)) * self.scale.reshape(-1, 1, 1)
        x = functional.pixel_shuffle(functional.elu(self.wide(x)), 2)
        x = self.narrow(x)
        first, second = torch.split(x, [4, 6], dim=1)
        flat = torch.cat([second, first], 1).view(x.shape[0], -1)
        pooled = torch.stack([first, second[:, 2:]]).amax((3, 4))
        hidden = torch.relu(self.fc1(flat))
        return self.fc2(torch.cat([hidden, pooled[0], pooled[1]], -1))


ARCHITECTURES = {
    "vgg": vgg,
    "resnet": resnet,
    "resnext": resnext,
    "preactivation-resnet": preactivation_resnet,
    "padded-resnet": padded_resnet,
    "densenet": densenet,
    "googlenet": googlenet,
    "mobilenet-v2": mobilenet_v2,
    "efficientnet": efficientnet,
    "shufflenet-v2": shufflenet_v2,
    "u-net": UNet,
    "vit": VisionTransformer,
    "vit-unfused": lambda: VisionTransformer(fused=False),
    "shifted-windows": ShiftedWindows,
    "convnext": convnext,
    "mixer": Mixer,
    "reshapes": Reshapes,
    "text-transformer": TextTransformer,
}


def example(name: str, batch: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if name == "text-transformer":
        return torch.randint(0, 50, (batch, 12), generator=generator)
    return torch.randn(batch, *IMAGE, generator=generator)
