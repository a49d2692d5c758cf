"""Recurrent networks, compiled: a loop over the steps, and every output."""

import numpy as np
import pytest
import torch
from torch import nn

import hwopt
from tests.graph.test_recurrent import KINDS, All
from tests.networks import max_difference

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("steps", [1, 3, 40])
def test_compiled_equals_torch(name, steps):
    kind, options = KINDS[name]
    model = All(kind, options).eval()
    x = torch.randn((2, steps, 6) if options.get("batch_first") else (steps, 2, 6))
    assert max_difference(hwopt.compile(model, x, kernel_trials=0)(x), model(x)) <= 1e-5


@pytest.mark.slow
def test_kernels_are_equal_to_float64():
    model = All(nn.LSTM, {"num_layers": 2, "bidirectional": True}).eval()
    x = torch.randn(100, 1, 6)
    artifact = hwopt.compile(model, x, kernel_trials=0)
    expected = model.double()(x.double())
    for got, wanted in zip(artifact(x), expected, strict=True):
        np.testing.assert_allclose(got, wanted.detach(), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_more_steps_make_no_more_kernels():
    counts = []
    for steps in (5, 500):
        artifact = hwopt.compile(All(nn.GRU, {}).eval(), torch.randn(steps, 1, 6), kernel_trials=0)
        counts.append(len(artifact.manifest.kernels))
        (loop,) = [k for k in artifact.manifest.kernels if k.name == "gru"]
        assert loop.road == "template:written" and loop.macs == steps * 3 * 5 * 5
    assert counts[0] == counts[1]


@pytest.mark.slow
def test_a_convolution_before_a_recurrent_layer():
    """The text recognisers of many packages: images become columns, columns a sequence."""

    class Columns(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv = nn.Conv2d(1, 8, 3, padding=1)
            self.layers = nn.LSTM(32, 16, num_layers=2, bidirectional=True)
            self.out = nn.Linear(32, 5)

        def forward(self, x):
            y = torch.relu(self.conv(x)).permute(3, 0, 1, 2).flatten(2)
            return self.out(self.layers(y)[0])

    model, x = Columns().eval(), torch.randn(2, 1, 4, 30)
    assert max_difference(hwopt.compile(model, x, kernel_trials=0)(x), model(x)) <= 1e-5
