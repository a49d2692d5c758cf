"""The Global layer's time step: what the equation keeps, moves and bounds."""

import pytest
import torch

import hwopt
from hwopt.errors import HwoptError
from hwopt.graph.advection_diffusion import OPERATOR as STEP


def fields(count=7, size=(2, 3, 6, 5), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(count)]


def impulse(size=31):
    x = torch.zeros(1, 1, size, size, dtype=torch.float64)
    x[..., size // 2, size // 2] = 1
    return x


def evolve(start, u, v, steps, **options):
    state = previous = start
    for _ in range(steps):
        state, previous = STEP(state, previous, u, v, **options), state
    return state


def test_equals_the_formula_pixel_by_pixel():
    h, p, u, v, f, dx, dy = fields()
    dx, dy = dx.abs(), dy.abs()
    dt, spacing = 0.3, 2
    result = STEP(h, p, u, v, f, dx, dy, time_step=dt, spacing=spacing)
    rows, columns = h.shape[2:]
    for i in range(rows):
        for j in range(columns):
            down, up = ((i + spacing) % rows, j), ((i - spacing) % rows, j)
            right, left = (i, (j + spacing) % columns), (i, (j - spacing) % columns)

            def at(x, place=(i, j)):
                return x[:, :, place[0], place[1]]

            bx, by = (at(d) * dt / spacing**2 for d in (dx, dy))
            divergence = at(u, down) - at(u, up) + at(v, right) - at(v, left)
            divergence = divergence / (2 * spacing)
            expected = (1 - 2 * bx - 2 * by) * at(p) + 2 * dt * divergence * at(h)
            expected = expected + 2 * bx * (at(h, down) + at(h, up))
            expected = expected + 2 * by * (at(h, right) + at(h, left))
            expected = expected + at(u) * dt / spacing * (at(h, down) - at(h, up))
            expected = expected + at(v) * dt / spacing * (at(h, right) - at(h, left))
            expected = (expected + 2 * dt * at(f)) / (1 + 2 * bx + 2 * by)
            assert torch.allclose(at(result), expected, rtol=1e-12, atol=1e-12)


def test_mean_is_kept_for_any_velocity_and_constants_are_fixed_points():
    x, u, v, *_ = fields()
    result = evolve(x, u, v, 3)
    assert torch.allclose(result.mean((2, 3)), x.mean((2, 3)), rtol=0, atol=1e-14)
    still, constant = torch.zeros_like(x), torch.full_like(x, 0.7)
    assert torch.allclose(evolve(constant, still, still, 4), constant, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("with_source", "centre"), [(False, 1 / 9), (True, 1 / 3)])
def test_an_impulse_spreads_to_its_neighbours(with_source, centre):
    x = impulse(5)
    still = torch.zeros_like(x)
    y = STEP(x, x, still, still, x if with_source else None)
    assert y[0, 0, 2, 2].item() == pytest.approx(centre)
    for place in ((1, 2), (3, 2), (2, 1), (2, 3)):
        assert y[0, 0][place].item() == pytest.approx(2 / 9)
    assert y.sum().item() == pytest.approx(centre + 8 / 9)


@pytest.mark.parametrize(("steps", "pixels"), [(1, 5), (2, 13), (5, 61)])
def test_what_is_reached_is_a_diamond(steps, pixels):
    x = impulse()
    velocity = torch.full_like(x, 0.3)
    assert int((evolve(x, velocity, velocity, steps) != 0).sum()) == pixels


def test_velocity_moves_towards_smaller_rows():
    x = impulse()
    y = evolve(x, torch.full_like(x, 0.5), torch.zeros_like(x), 5, diffusivity=0.5)
    rows = torch.arange(31, dtype=torch.float64)
    centre = (y[0, 0].sum(1) * rows).sum() / y.sum()
    assert centre.item() - 15 == pytest.approx(-0.53, abs=0.005)


@pytest.mark.parametrize("spread", [0.01, 1.0, 100.0])
def test_diffusion_alone_stays_bounded_for_any_strength(spread):
    x, *_ = fields(1)
    still = torch.zeros_like(x)
    result = evolve(x, still, still, 200, diffusivity=spread, time_step=1.0)
    assert result.abs().max() <= 10 * x.abs().max()


def test_at_the_bound_of_the_velocity_advection_stays_bounded_and_beyond_it_does_not():
    x, *_ = fields(1, (1, 1, 16, 16))
    growth = {}
    for share in (0.45, 1.0):  # of spacing / time_step, in each direction
        velocity = torch.full_like(x, share / 0.2)
        growth[share] = evolve(x, velocity, velocity, 100).abs().max() / x.abs().max()
    assert growth[0.45] <= 2
    assert growth[1.0] > 1e6


def test_gradients_are_those_of_finite_differences():
    tensors = [t.requires_grad_() for t in fields(size=(1, 2, 3, 4))]
    tensors[5:] = [t.detach().abs().add(0.1).requires_grad_() for t in tensors[5:]]
    assert torch.autograd.gradcheck(lambda *t: STEP(*t, time_step=0.3), tensors)
    assert torch.autograd.gradcheck(lambda *t: STEP(*t), tensors[:4])


def test_gradients_are_computed_for_what_asks_for_them_only():
    h, p, u, v, *_ = fields()
    STEP(h, p, u.requires_grad_(), v).sum().backward()
    assert u.grad is not None
    assert h.grad is None


class Narrow(torch.nn.Module):
    def forward(self, x):
        still = x.mean((2, 3), keepdim=True)
        return STEP(x, x, still, still)


def test_fields_of_another_shape_are_refused_before_anything_is_compiled():
    x = torch.zeros(1, 3, 4, 4)
    with pytest.raises(HwoptError, match=r"like the state, \(1, 3, 4, 4\), not \(1, 3, 1, 1\)"):
        Narrow()(x)
    with pytest.raises(HwoptError, match="all tensors must be like the state"):
        hwopt.import_model(Narrow(), x)
