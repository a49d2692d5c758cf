"""The Global layer's time step and the interpolation of anchors, compiled, against float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import hwopt
from hwopt.graph.advection_diffusion import OPERATOR as STEP
from hwopt.graph.anchors import OPERATOR as INTERPOLATE
from tests.networks import max_difference


class Steps(nn.Module):
    """Steps with velocities, source and diffusivities from the input, perhaps among others."""

    def __init__(self, steps: int, fields: tuple[str, ...], options: dict[str, float]) -> None:
        super().__init__()
        self.steps, self.fields, self.options = steps, fields, options

    def forward(self, x):
        u, v, f, dx, dy = (torch.roll(x, n, 3) for n in range(1, 6))
        given = {"source": f, "diffusivity_h": dx.abs(), "diffusivity_w": dy.abs()}
        chosen = {name: given[name] for name in self.fields}
        state = previous = x
        for _ in range(self.steps):
            state, previous = STEP(state, previous, u, v, **chosen, **self.options), state
        return state


def check(model, x):
    """Compare with float64 what is compiled, relative to the largest value."""
    artifact = hwopt.compile(model.eval(), x, kernel_trials=0)
    expected = model.double()(x.double())
    assert max_difference(artifact(x), expected) <= 1e-5 * max(1.0, expected.abs().max().item())
    return artifact


sizes = st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 9), st.integers(1, 9))
FIELDS = ((), ("source",), ("source", "diffusivity_h", "diffusivity_w"), ("diffusivity_w",))


@pytest.mark.slow
@settings(max_examples=12)
@given(
    size=sizes,
    steps=st.integers(1, 5),
    fields=st.sampled_from(FIELDS),
    spacing=st.integers(1, 3),
    time_step=st.sampled_from([0.1, 0.2, 0.5]),
    diffusivity=st.sampled_from([0.5, 1.0]),
)
def test_steps_of_any_shape_equal_float64(size, steps, fields, **options):
    torch.manual_seed(0)
    check(Steps(steps, fields, options), torch.randn(size))


@pytest.mark.slow
@settings(max_examples=12)
@given(size=sizes, stride=st.integers(1, 4))
def test_interpolation_of_any_shape_equals_float64(size, stride):
    class Interpolate(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(size[1], 1, 1))

        def forward(self, x):
            return INTERPOLATE(2 - x[:, :, ::stride, ::stride], x, self.weight, stride)

    torch.manual_seed(0)
    check(Interpolate(), torch.randn(size))


class Among(nn.Module):
    """Both operators among convolutions, with a norm behind each."""

    def __init__(self):
        super().__init__()
        self.first, self.last = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.norm, self.other = nn.BatchNorm2d(8), nn.BatchNorm2d(8)

    def forward(self, x):
        y = self.first(x)
        z = torch.relu(self.norm(STEP(y, 2 * y, y.relu(), y.sigmoid(), y)))
        mixed = INTERPOLATE(z[:, :, ::2, ::2], y, self.other.weight.view(-1, 1, 1).sigmoid(), 2)
        return self.last(torch.relu(self.other(mixed) + z))


@pytest.mark.slow
def test_among_convolutions_they_read_channels_last_and_take_what_follows_along():
    torch.manual_seed(0)
    artifact = check(Among(), torch.randn(2, 8, 9, 7))
    names = [kernel.name for kernel in artifact.manifest.kernels]
    steps = [name for name in names if "advection_diffusion" in name]
    assert len(steps) == 1
    assert "relu" in steps[0]
    assert not any("concat" in name for name in names)
    transposed = [kernel for kernel in artifact.manifest.kernels if "transpose" in kernel.name]
    assert sum(kernel.calls for kernel in transposed) <= 2  # of the input and of the output
