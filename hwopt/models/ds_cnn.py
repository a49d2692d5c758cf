"""DS-CNN of MLPerf Tiny: keyword spotting on 49 frames of 10 MFCC coefficients."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from hwopt.models.layers import classifier, conv_bn_relu, depthwise_separable, initialise


class DsCnn(nn.Sequential):
    """A 10x4 stem with stride 2 and four depthwise-separable blocks of the same width.

    The published model's dropout, which acts only in training, is left out.
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 12, width: int = 64) -> None:
        """Make the model for inputs (N, in_channels, frames, coefficients)."""
        stages = [depthwise_separable(width, width, bias=True) for _ in range(4)]
        # The published 49x10 input gives 25x5, as TensorFlow's "same" padding does.
        stem = conv_bn_relu(in_channels, width, (10, 4), stride=2, padding=(5, 1), bias=True)
        modules = {
            "stem": stem,
            "stages": nn.Sequential(*stages),
            "head": classifier(width, num_classes),
        }
        super().__init__(OrderedDict(modules))
        initialise(self)
