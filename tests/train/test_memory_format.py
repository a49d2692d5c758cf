"""Strided 1x1 convolutions of few channels: oneDNN's gradients in channels-last order are wrong."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from hwopt.train.cpu import memory_format, weights_in

TRAIN = """
import sys, torch
from torch import nn
from torch.utils.data import TensorDataset
from hwopt import train
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 1, stride=2), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
x = torch.randn(2000, 1, 28, 28)
labels = (x.mean((1, 2, 3)) > 0).long()
train.fit(net, TensorDataset(x, labels), epochs=1, progress=False, threads=int(sys.argv[1]))
print("trained")
"""


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_training_ends(threads):
    """In channels-last order it crashes, or never ends, on processors with AVX2."""
    command = [sys.executable, "-c", TRAIN, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == "trained\n", done.stderr


@pytest.mark.parametrize("inputs", [1, 3, 4, 8, 16, 32])
def test_gradients_are_those_of_float64(inputs):
    torch.manual_seed(0)
    conv = nn.Conv2d(inputs, 8, 1, stride=2)
    x = torch.randn(32, inputs, 14, 14)
    order = memory_format(conv)
    with weights_in(conv, order):
        conv(x.contiguous(memory_format=order)).square().sum().backward()
        found = conv.weight.grad.double()
    exact = nn.Conv2d(inputs, 8, 1, stride=2).double()
    exact.load_state_dict({name: value.double() for name, value in conv.state_dict().items()})
    exact(x.double()).square().sum().backward()
    difference = (found - exact.weight.grad).abs().max()
    assert difference <= 1e-4 * exact.weight.grad.abs().max()


def test_other_models_train_channels_last():
    wide = nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 64, 1, stride=2))
    assert memory_format(wide) is torch.channels_last
    with weights_in(wide, torch.channels_last):
        assert wide[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert wide[0].weight.is_contiguous()
