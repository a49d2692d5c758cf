"""The Global layer: its size, its start, and that no velocity makes it explode."""

import pytest
import torch
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from hwopt.layers import GlobalLayer
from tests.networks import max_difference


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameters_a_channel():
    assert count(GlobalLayer(16)) == 46 * 16
    assert count(GlobalLayer(16, diffusivity=1.0)) == 24 * 16


def test_without_steps_it_is_norm_and_activation_of_the_start():
    layer = GlobalLayer(4, steps=0).eval()
    nn.init.uniform_(layer.norm.running_mean)
    x, start = torch.randn(2, 2, 4, 6, 5)
    assert torch.equal(layer(x), torch.relu(layer.norm(x)))
    assert torch.equal(layer(x, start), torch.relu(layer.norm(start)))
    without = GlobalLayer(4, steps=0, activation=False).eval()
    assert (without(x) < 0).any()


def test_the_first_step_begins_at_the_start_and_before_it_at_the_input():
    layer = GlobalLayer(2, diffusivity=1.0, activation=False).double().eval()
    for field in (layer.velocity_h, layer.velocity_w):
        nn.init.zeros_(field.conv.weight)
    x, start = torch.randn(2, 1, 2, 5, 5, dtype=torch.float64)
    neighbours = sum(start.roll(by, dim) for by in (-1, 1) for dim in (2, 3))
    expected = (0.2 * x + 0.4 * neighbours + 0.4 * x) / 1.8
    assert torch.allclose(layer(x, start), layer.norm(expected))
    without = GlobalLayer(2, diffusivity=1.0, activation=False, source=False).double().eval()
    without.load_state_dict(layer.state_dict())
    assert torch.allclose(without(x, start), layer.norm(expected - 0.4 * x / 1.8))


@pytest.mark.slow
@pytest.mark.parametrize("diffusivity", [None, 0.0, 1.0])
@pytest.mark.parametrize("spacing", [1, 2])
def test_no_velocity_explodes_and_the_compiled_layer_agrees(diffusivity, spacing):
    torch.manual_seed(0)
    layer = GlobalLayer(4, steps=5, diffusivity=diffusivity, spacing=spacing)
    for field in (layer.velocity_h, layer.velocity_w):
        nn.init.normal_(field.conv.weight, std=1e4)
        nn.init.normal_(field.bn.weight, std=1e4)
    layer.eval()
    x = torch.randn(1, 4, 9, 8)
    y = layer(x)
    assert y.isfinite().all() and y.abs().max() < 1e3
    layer.train()
    layer(x).sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())
    layer.eval()
    artifact = hwopt.compile(layer, x, kernel_trials=0)
    difference = max_difference(artifact(x), layer.double()(x.double()).detach())
    assert difference <= 1e-4 * max(1.0, y.abs().max().item())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, "steps of a Global layer must be at least 0, not -1"),
        ({"spacing": 0}, "spacing of a Global layer must be at least 1, not 0"),
        ({"time_step": 0.0}, "time_step of a Global layer must be above 0, not 0.0"),
        ({"diffusivity": -1.0}, "diffusivity of a Global layer must be at least 0, not -1.0"),
    ],
)
def test_bad_numbers(options, message):
    with pytest.raises(HwoptError, match=message):
        GlobalLayer(4, **options)
