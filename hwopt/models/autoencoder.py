"""The fully connected autoencoder of MLPerf Tiny: anomaly detection in machine sounds."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from torch import nn


class AutoEncoder(nn.Sequential):
    """Features to four hidden layers, a bottleneck, four hidden layers, and back to features.

    Every layer but the last has a batch norm and a ReLU. Train it with a mean squared error
    between output and input.
    """

    def __init__(self, in_channels: int = 640, width: int = 128, bottleneck: int = 8) -> None:
        """Make the model for inputs (N, in_channels): five spectrogram frames of 128 bands."""
        encoder = _layers([in_channels, *[width] * 4, bottleneck])
        decoder = _layers([bottleneck, *[width] * 4])
        output = nn.Linear(width, in_channels)
        modules = {"encoder": encoder, "decoder": decoder, "output": output}
        super().__init__(OrderedDict(modules))


def _layers(widths: list[int]) -> nn.Sequential:
    """Return linear, batch norm and ReLU for every step from one width to the next."""
    layers = []
    for in_features, out_features in pairwise(widths):
        modules = {
            "linear": nn.Linear(in_features, out_features),
            "bn": nn.BatchNorm1d(out_features),
            "relu": nn.ReLU(),
        }
        layers.append(nn.Sequential(OrderedDict(modules)))
    return nn.Sequential(*layers)
