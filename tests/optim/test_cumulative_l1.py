"""The l1 penalty around an optimizer: the same as the term of a training."""

import pytest
import torch
from torch import nn

from hwopt import train
from hwopt.errors import HwoptError
from hwopt.optim import CumulativeL1


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))


def steps(network, optimizer, count, start=0):
    """Take steps on random batches of their own."""
    for number in range(start, start + count):
        x = torch.randn(16, 6, generator=torch.Generator().manual_seed(number))
        optimizer.zero_grad()
        (network(x) - x[:, :1]).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("form", ["cumulative", "proximal"])
def test_equals_the_term(form):
    first, second = model(), model()
    wrapped = CumulativeL1(torch.optim.SGD(first.parameters(), 0.1), 1.0, 16, form=form)
    steps(first, wrapped, 20)
    plain, penalty = torch.optim.SGD(second.parameters(), 0.1), train.L1Penalty(1.0, form)
    penalty.start(second, samples=16)
    for number in range(20):
        steps(second, plain, 1, number)
        penalty.after_step(0.1)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    assert 0 < int(first[0].weight.count_nonzero()) < first[0].weight.numel()
    assert first[0].bias.count_nonzero() == 8


def test_a_strength_of_zero_is_the_optimizer_alone():
    first, second = model(), model()
    steps(first, CumulativeL1(torch.optim.Adam(first.parameters()), 0.0, 16), 5)
    steps(second, torch.optim.Adam(second.parameters()), 5)
    assert torch.equal(first[0].weight, second[0].weight)


def test_saved_and_loaded_it_goes_on_exactly():
    whole, resumed = model(), model()
    options = {"strength": 1.0, "samples": 16, "grows": "epoch"}
    optimizer = CumulativeL1(torch.optim.SGD(whole.parameters(), 0.1, momentum=0.9), **options)
    for epoch in range(4):
        optimizer.start_epoch()
        steps(whole, optimizer, 3, 3 * epoch)
    optimizer = CumulativeL1(torch.optim.SGD(resumed.parameters(), 0.1, momentum=0.9), **options)
    for epoch in range(4):
        if epoch == 2:
            state = optimizer.state_dict()
            again = torch.optim.SGD(resumed.parameters(), 0.1, momentum=0.9)
            optimizer = CumulativeL1(again, **options)
            optimizer.load_state_dict(state)
        optimizer.start_epoch()
        steps(resumed, optimizer, 3, 3 * epoch)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("strength", "samples"), [(-1.0, 10), (1.0, 0)])
def test_bad_numbers(strength, samples):
    sgd = torch.optim.SGD(model().parameters(), 0.1)
    with pytest.raises(HwoptError, match=f"not {strength} and {samples}"):
        CumulativeL1(sgd, strength, samples)
