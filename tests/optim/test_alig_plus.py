"""ALI-G+: what samples are thought to reach, and steps above it."""

import pytest
import torch
from torch import nn

from hwopt.errors import HwoptError
from hwopt.optim import ALIG, ALIGPlus


def losses_of(optimizer, w, weights):
    """Return a closure with the losses (w - 1)^2 * weights."""

    def closure():
        optimizer.zero_grad()
        losses = (w - 1).square().sum() * weights
        losses.mean().backward()
        return losses

    return closure


def of_values(optimizer, name):
    return optimizer.param_groups[0][name].tolist()


def test_values_of_constant_losses_come_half_way_nearer_each_time():
    w = nn.Parameter(torch.zeros(1))
    optimizer = ALIGPlus([w], 1e-9, num_samples=2, num_epochs=10, updates=5, momentum=0.0)
    weights = torch.tensor([1.0, 3.0])
    found = []
    for _ in range(10):
        optimizer.step(losses_of(optimizer, w, weights), torch.tensor([0, 1]))
        optimizer.end_epoch()
        found.append(of_values(optimizer, "values"))
    expected = [1 - 2.0**-k for k in range(6)]
    for epoch, values in enumerate(found, 1):
        assert values == pytest.approx([expected[epoch // 2], 3 * expected[epoch // 2]], rel=1e-5)


def test_a_value_that_was_reached_goes_back_by_half_of_its_last_move():
    w = nn.Parameter(torch.zeros(1))
    optimizer = ALIGPlus([w], 0.1, num_samples=1, num_epochs=2, updates=2)
    mine = optimizer.param_groups[0]
    mine.update(values=torch.tensor([0.5]), moves=torch.tensor([0.2]), best=torch.tensor([0.4]))
    optimizer.end_epoch()
    assert of_values(optimizer, "values") == pytest.approx([0.4])
    assert of_values(optimizer, "moves") == pytest.approx([0.2])


def test_the_best_epoch_counts_and_not_the_last():
    optimizer = ALIGPlus([nn.Parameter(torch.zeros(1))], 0.1, 1, num_epochs=4, updates=1)
    for loss in (3.0, 1.0, 2.0, 5.0):
        optimizer.param_groups[0]["losses"] = torch.tensor([loss])
        optimizer.end_epoch()
    assert of_values(optimizer, "values") == [0.5]


def test_samples_that_were_not_seen_move_nothing_and_spoil_nothing():
    w = nn.Parameter(torch.zeros(1))
    optimizer = ALIGPlus([w], 1e-9, num_samples=3, num_epochs=6, updates=6, momentum=0.0)
    for _ in range(2):
        optimizer.step(losses_of(optimizer, w, torch.ones(2)), torch.tensor([0, 1]))
        optimizer.end_epoch()
    assert of_values(optimizer, "values") == pytest.approx([0.75, 0.75, 0.0])
    assert of_values(optimizer, "moves") == pytest.approx([0.25, 0.25, 0.0])
    # Seen at last, in an epoch that is not the best of the others, it begins where they did.
    optimizer.step(losses_of(optimizer, w, 2 * torch.ones(3)), torch.tensor([0, 1, 2]))
    optimizer.end_epoch()
    assert of_values(optimizer, "values") == pytest.approx([0.875, 0.875, 1.0])


def test_a_step_with_weight_decay():
    w = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = ALIGPlus([w], 0.1, num_samples=2, num_epochs=10, weight_decay=0.1)
    optimizer.param_groups[0]["values"] = torch.tensor([0.2, 0.4])

    def closure():
        w.grad = torch.full_like(w, 2.0)
        return torch.tensor([0.5, 0.3])

    optimizer.step(closure, torch.tensor([0, 1]))
    assert w.item() == pytest.approx(0.9025)


def test_before_the_values_move_it_is_alig():
    start, weights = torch.zeros(3), torch.tensor([1.0, 2.0])
    plus, plain = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    first, second = ALIGPlus([plus], 0.3, 2, num_epochs=10), ALIG([plain], 0.3, eps=1e-9)
    for _ in range(5):
        first.step(losses_of(first, plus, weights), torch.tensor([0, 1]))
        second.step(lambda: losses_of(second, plain, weights)().mean())
        assert torch.allclose(plus, plain)


def test_samples_below_their_values_move_nothing():
    w = nn.Parameter(torch.zeros(1))
    optimizer = ALIGPlus([w], 0.3, num_samples=2, num_epochs=10)
    optimizer.param_groups[0]["values"] = torch.tensor([2.0, 2.0])
    optimizer.step(losses_of(optimizer, w, torch.ones(2)), torch.tensor([0, 1]))
    assert w.item() == 0


def test_saved_and_loaded_it_goes_on_exactly():
    def train(at):
        w = nn.Parameter(torch.zeros(2))
        optimizer = ALIGPlus([w], 0.01, num_samples=3, num_epochs=6, updates=3)
        for epoch in range(6):
            if epoch == at:
                state = optimizer.state_dict()
                optimizer = ALIGPlus([w], 0.01, num_samples=3, num_epochs=6, updates=3)
                optimizer.load_state_dict(state)
            for chosen in ([0, 2], [1]):
                weights = torch.tensor([1.0, 2.0, 3.0])[chosen]
                optimizer.step(losses_of(optimizer, w, weights), torch.tensor(chosen))
            optimizer.end_epoch()
        return w.detach()

    assert torch.equal(train(3), train(None))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "num_samples must be positive"),
        ({"updates": 11}, "11 of 10"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0, not -1.0"),
    ],
)
def test_bad_numbers(options, message):
    with pytest.raises(HwoptError, match=message):
        ALIGPlus(
            [nn.Parameter(torch.zeros(1))], 0.1, **{"num_samples": 3, "num_epochs": 10} | options
        )


def test_a_step_needs_indices():
    optimizer = ALIGPlus([nn.Parameter(torch.zeros(1))], 0.1, 1, 5)
    with pytest.raises(HwoptError, match="the indices of its samples"):
        optimizer.step(lambda: torch.zeros(1))
