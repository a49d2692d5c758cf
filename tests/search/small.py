"""A network of two convolutions, which a study trains, compiles and measures in seconds."""

from collections import OrderedDict

from torch import nn


def network(width: int = 4) -> nn.Module:
    """Return it for images of one channel and ten classes."""
    layers = {
        "stem": nn.Conv2d(1, width, 3, stride=2, padding=1),
        "relu": nn.ReLU(),
        "body": nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        "last": nn.ReLU(),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(),
        "head": nn.Linear(2 * width, 10),
    }
    return nn.Sequential(OrderedDict(layers))
