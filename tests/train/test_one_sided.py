import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from hwopt import train
from hwopt.errors import HwoptError
from hwopt.train.one_sided import OneSided, one_sided_loss
from tests.train.small_trainings import at_once_and_resumed, equal


def samples(count=512):
    """Two features; the classes overlap on one side."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (count,), generator=generator)
    centres = torch.tensor([[0.0, 0.0], [0.7, 0.0], [0.0, 4.0]])
    return TensorDataset(centres[labels] + torch.randn(count, 2, generator=generator), labels)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 3))


def fit(model, term, **options):
    settings = {"epochs": 3, "learning_rate": 0.05, "batch_size": 32, "progress": False}
    return train.fit(model, samples(), terms=[term], label_smoothing=0.0, **settings | options)


def test_without_multipliers_only_what_is_missed_counts():
    logits, targets = torch.randn(12, 3), torch.arange(12) % 3
    zero = torch.zeros(3)
    found = one_sided_loss(logits, targets, zero, zero, cost=0.0)
    missed = -functional.log_softmax(logits, 1)[torch.arange(12), targets]
    assert found.item() == pytest.approx(missed.sum().item() / 4.1, rel=1e-5)


def test_with_multipliers_of_one_it_is_a_balanced_binary_cross_entropy():
    logits, targets = torch.randn(12, 3).double(), torch.arange(12) % 3
    found = one_sided_loss(logits, targets, torch.zeros(3), torch.ones(3), cost=0.0)
    scores = logits.softmax(1)
    of_class = functional.one_hot(targets, 3).double()
    weights = of_class / 4.1 + (1 - of_class) / 8.1
    expected = functional.binary_cross_entropy(scores, of_class, weight=weights, reduction="sum")
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_what_is_negative_counts_nothing_and_absent_classes_give_numbers():
    logits, targets = 50 * torch.randn(6, 3), torch.zeros(6, dtype=torch.long)
    negative = torch.full((3,), -1.0)
    one = one_sided_loss(logits, targets, negative, negative, cost=2.0)
    other = one_sided_loss(logits, targets, torch.zeros(3), torch.zeros(3), cost=2.0)
    assert one.isfinite() and one == other
    assert one_sided_loss(logits, targets, torch.ones(3), torch.ones(3), 1.0).isfinite()


def test_at_a_saddle_point_the_multipliers_are_the_cost():
    """What is allowed has the derivative cost - multiplier."""
    allowed = torch.full((3,), 0.3, requires_grad=True)
    multipliers = torch.tensor([0.5, 0.8, 1.2])
    one_sided_loss(torch.randn(6, 3), torch.arange(6) % 3, allowed, multipliers, 0.8).backward()
    torch.testing.assert_close(allowed.grad, 0.8 - multipliers)


def test_multipliers_go_up_where_more_is_wrong_than_allowed_and_down_elsewhere():
    model, term = network(), OneSided(3, cost=1.0, multiplier_rate=0.01, rate=0.0)
    fit(model, term, epochs=1, learning_rate=1e-6)  # nothing is learned
    inputs, labels = samples().tensors
    away = -torch.log(1 - model(inputs).softmax(1))
    wrong = torch.stack([away[labels != k, k].mean() for k in range(3)])
    assert (wrong > 0.5).any() and (wrong < 0.5).any()
    assert torch.equal(term.multipliers > 0.5, wrong > 0.5)


def test_multipliers_of_zero_go_up_and_none_goes_below():
    term = OneSided(3, cost=0.3, multiplier_rate=0.01)
    found = []

    def note(_):
        found.append((term.multipliers.detach().clone(), term.allowed.detach().clone()))

    fit(network(), term, epochs=6, learning_rate=1e-6, on_epoch=note)
    assert max(multipliers.max() for multipliers, _ in found) > 0
    assert min(min(m.min(), a.min()) for m, a in found) >= 0


def test_a_higher_cost_answers_less_and_errs_less():
    inputs, labels = samples().tensors
    figures = []
    for cost in (0.1, 3.0):
        model = network()
        term = OneSided(3, cost=cost, multiplier_rate=0.05)
        fit(model, term, epochs=15)
        scores = model(inputs).softmax(1).detach()
        accepted = scores.max(1).values >= 0.5
        wrong = (scores.argmax(1) != labels)[accepted]
        figures.append((accepted.float().mean().item(), wrong.float().mean().item()))
    (much, wrong_of_much), (little, wrong_of_little) = figures
    assert little < much and wrong_of_little < wrong_of_much


def test_a_training_resumes_exactly(tmp_path):
    def once(checkpoint, on_epoch):
        model, term = network(), OneSided(3)
        fit(model, term, checkpoint=checkpoint, on_epoch=on_epoch)
        return model, term

    (whole, first), (resumed, second) = at_once_and_resumed(once, tmp_path)
    assert torch.equal(first.multipliers, second.multipliers)
    assert torch.equal(first.allowed, second.allowed)
    assert equal(whole, resumed)


def test_what_cannot_be_is_said_in_one_sentence():
    with pytest.raises(HwoptError, match="two classes or more"):
        OneSided(1)
    with pytest.raises(HwoptError, match="no linear layer"):
        OneSided(2).start(nn.Sequential(nn.ReLU()), 1)
    with pytest.raises(HwoptError, match="no layer 'head' to read"):
        OneSided(2, layer="head").start(network(), 1)


def test_numbers_of_the_paper_are_defaults():
    term = OneSided(10)
    term.start(network(), 1)
    assert np.allclose(term.allowed.detach(), 0.5) and np.allclose(term.multipliers.detach(), 0.0)
    assert (term.cost, term.share, term.rates) == (0.49, 0.9, (0.01, 1e-4))
