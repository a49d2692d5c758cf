"""BORAT: exact cases, its relation to ALI-G, and its state."""

import pytest
import torch
from torch import nn

from hwopt.errors import HwoptError
from hwopt.optim import ALIG, BORAT
from tests.optim.problems import regression, run, sample_closure

ORTHOGONAL = [((1.0, 2.0), 3.0), ((2.0, -1.0), 0.5)]
CORRELATED = [((1.0, 0.0), 2.0), ((1.0, 1.0), 1.0)]


@pytest.mark.parametrize(
    ("samples", "max_lr", "expected"),
    [
        (ORTHOGONAL, 0.5, (0.4, 0.55)),
        (ORTHOGONAL, 10.0, (0.4, 0.55)),
        (ORTHOGONAL, 0.05, (0.15, 0.3)),
        (CORRELATED, 0.2, (0.4, 0.0)),
        (CORRELATED, 1.0, (1.0, 0.0)),
        (CORRELATED, 5.0, (1.0, 0.0)),
    ],
)
def test_exact_cases(samples, max_lr, expected):
    found = run(lambda params: BORAT(params, max_lr, momentum=0.0), samples)
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("max_norm", [None, 2.0])
def test_with_two_pieces_it_is_alig_step_for_step(momentum, max_norm):
    options = {"momentum": momentum, "max_norm": max_norm}
    for count in range(1, 15):
        samples = regression(count)
        borat = run(lambda params: BORAT(params, 0.3, pieces=2, **options), samples, (0.0,) * 3)
        alig = run(lambda params: ALIG(params, 0.3, eps=0.0, **options), samples, (0.0,) * 3)
        assert torch.allclose(borat, alig, rtol=1e-6, atol=1e-8), count


@pytest.mark.parametrize("pieces", [3, 5])
def test_fits_what_can_be_fitted(pieces):
    found = run(lambda p: BORAT(p, 1.0, pieces), regression(20) * 60, (0.0,) * 3)
    assert found.tolist() == pytest.approx([1, 2, 3], abs=1e-3)


def test_without_a_loss_nothing_moves():
    samples = [((1.0, 2.0), 0.0), ((2.0, 1.0), 0.0)]
    assert run(lambda params: BORAT(params, 0.3), samples).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("at", [3, 4])
def test_saved_and_loaded_in_a_bundle_it_goes_on_exactly(at):
    samples = regression(12)
    whole = run(lambda params: BORAT(params, 0.4, 4), samples, (0.0,) * 3)
    w = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = BORAT([w], 0.4, 4)
    for number, (x, y) in enumerate(samples):
        if number == at:
            state = optimizer.state_dict()
            optimizer = BORAT([w], 0.4, 4)
            optimizer.load_state_dict(state)
        optimizer.step(sample_closure(optimizer, w, x, y))
    assert torch.equal(w, whole)


def test_parameters_without_a_gradient_in_a_batch_have_a_gradient_of_zero():
    first, second = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = BORAT([first, second], 0.5, momentum=0.0)

    def closure(parameters):
        optimizer.zero_grad()
        loss = sum((p - 1).square().sum() for p in parameters)
        loss.backward()
        return loss

    optimizer.step(lambda: closure([first, second]))
    optimizer.step(lambda: closure([first]))
    assert first.item() > 0 and second.item() > 0


@pytest.mark.parametrize("pieces", [1, 6])
def test_bad_pieces(pieces):
    with pytest.raises(HwoptError, match=f"pieces must be 2 to 5, not {pieces}"):
        BORAT([nn.Parameter(torch.zeros(1))], 0.1, pieces)


def test_the_step_size_is_finite():
    with pytest.raises(HwoptError, match="max_lr must be finite"):
        BORAT([nn.Parameter(torch.zeros(1))], float("inf"))
