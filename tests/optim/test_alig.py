"""ALI-G: the numbers of the method's checks."""

import math

import pytest
import torch
from torch import nn

from hwopt.errors import HwoptError
from hwopt.optim import ALIG
from tests.optim.problems import regression, run, sample_closure


def plain(max_lr, **options):
    return lambda params: ALIG(params, max_lr, momentum=0.0, eps=0.0, **options)


@pytest.mark.parametrize(
    ("max_lr", "expected"), [(math.inf, (0.3, 0.6)), (1.0, (0.3, 0.6)), (0.05, (0.15, 0.3))]
)
def test_least_squares(max_lr, expected):
    assert run(plain(max_lr), [((1.0, 2.0), 3.0)]).tolist() == pytest.approx(expected)


def test_an_uncapped_step_lands_on_the_margin_of_a_hinge():
    w = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    x = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    optimizer = plain(math.inf)([w])

    def closure():
        optimizer.zero_grad()
        loss = (1 + w @ x).clamp(min=0)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert (-(w @ x)).item() == pytest.approx(1)
    before = w.detach().clone()
    optimizer.step(closure)
    assert torch.equal(w, before)


def test_momentum_is_that_of_nesterov_on_steps_of_their_sizes():
    samples, mu = regression(5), 0.9
    w, v = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for x, y in samples:
        x = torch.tensor(x, dtype=torch.float64)
        error = w @ x - y
        gradient = error * x
        size = min((error**2 / 2 / (gradient @ gradient + 1e-5)).item(), 0.4)
        v = mu * v - size * gradient
        w = w - size * gradient + mu * v
    found = run(lambda params: ALIG(params, 0.4), samples, (0.0,) * 3)
    assert torch.allclose(found, w, rtol=1e-12)


def test_groups_share_the_norm_and_have_caps_of_their_own():
    first, second = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    groups = [{"params": [first], "lr": 0.01}, {"params": [second]}]
    optimizer = ALIG(groups, 10.0, momentum=0.0, eps=0.0)

    def closure():
        optimizer.zero_grad()
        loss = (3 * first + 4 * second - 5).square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)  # loss 12.5, gradient (-15, -20): 0.02 would make it zero if linear
    assert (first.item(), second.item()) == pytest.approx((0.15, 0.4))


def test_all_parameters_stay_in_the_ball():
    found = run(plain(10.0, max_norm=0.5), regression(20), (3.0, 4.0, 0.0))
    assert found.norm().item() <= 0.5 + 1e-12
    w = nn.Parameter(torch.tensor([3.0, 4.0]))
    ALIG([w], 1.0, max_norm=1.0)
    assert w.tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_fits_what_can_be_fitted(momentum):
    found = run(lambda p: ALIG(p, 1.0, momentum, eps=0.0), regression(20) * 30, (0.0,) * 3)
    assert found.tolist() == pytest.approx([1, 2, 3], abs=1e-3)


def test_saved_and_loaded_it_goes_on_exactly():
    samples = regression(12)
    whole = run(lambda params: ALIG(params, 0.4), samples, (0.0,) * 3)
    w = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = ALIG([w], 0.4)
    for number, (x, y) in enumerate(samples):
        if number == 7:
            state = optimizer.state_dict()
            optimizer = ALIG([w], 0.4)
            optimizer.load_state_dict(state)
        optimizer.step(sample_closure(optimizer, w, x, y))
    assert torch.equal(w, whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_lr": 0.0}, "max_lr must be positive, not 0.0"),
        ({"max_lr": 1.0, "momentum": 1.0}, r"momentum must be in \[0, 1\), not 1.0"),
        ({"max_lr": 1.0, "max_norm": -1.0}, "max_norm must be positive, not -1.0"),
    ],
)
def test_bad_numbers(options, message):
    with pytest.raises(HwoptError, match=message):
        ALIG([nn.Parameter(torch.zeros(1))], **options)


@pytest.mark.parametrize(
    ("loss", "message"), [(-1.0, "the loss is -1.0, but must be at least 0"), (math.nan, "nan")]
)
def test_a_loss_below_the_bound_is_refused_and_nothing_moves(loss, message):
    w = nn.Parameter(torch.ones(1))
    optimizer = ALIG([w], 1.0)
    with pytest.raises(HwoptError, match=message):
        optimizer.step(lambda: w.sum() * 0 + loss)
    assert w.item() == 1
    with pytest.raises(HwoptError, match="needs a closure"):
        optimizer.step()


def test_parameters_on_two_devices_are_refused():
    params = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1, device="meta"))]
    with pytest.raises(HwoptError, match="the parameters are on cpu, meta"):
        ALIG(params, 1.0)
