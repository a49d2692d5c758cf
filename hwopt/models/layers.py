"""Building blocks that several models of the zoo share."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def conv_bn_relu(
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int],
    *,
    stride: int = 1,
    padding: tuple[int, int] | None = None,
    groups: int = 1,
    bias: bool = False,
) -> nn.Sequential:
    """Return convolution, batch norm and ReLU as ``conv``, ``bn``, ``relu``.

    The padding is half the kernel on every side unless given: for an odd kernel, stride s then
    divides the size by s, rounded up, as TensorFlow's "same" does.
    """
    kernel = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
    conv = nn.Conv2d(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        padding=padding or (kernel[0] // 2, kernel[1] // 2),
        groups=groups,
        bias=bias,
    )
    modules = {"conv": conv, "bn": nn.BatchNorm2d(out_channels), "relu": nn.ReLU()}
    return nn.Sequential(OrderedDict(modules))


def depthwise_separable(
    in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = False
) -> nn.Sequential:
    """Return a 3x3 ``depthwise`` and a 1x1 ``pointwise`` convolution, each with norm and ReLU."""
    modules = {
        "depthwise": conv_bn_relu(
            in_channels, in_channels, 3, stride=stride, groups=in_channels, bias=bias
        ),
        "pointwise": conv_bn_relu(in_channels, out_channels, 1, bias=bias),
    }
    return nn.Sequential(OrderedDict(modules))


def classifier(in_features: int, num_classes: int) -> nn.Sequential:
    """Return global average pooling and a linear layer as ``pool``, ``flatten``, ``linear``."""
    modules: dict[str, nn.Module] = {
        "pool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "linear": nn.Linear(in_features, num_classes),
    }
    return nn.Sequential(OrderedDict(modules))


def initialise(model: nn.Module) -> None:
    """Draw He-normal convolution weights (over the outputs) and clear their biases, in place.

    Batch norm and linear layers keep torch's own initial values.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
