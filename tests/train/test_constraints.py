"""Constraints while training: their values, and the multipliers that follow them."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from hwopt import train
from hwopt.errors import HwoptError
from hwopt.train import Constrained
from hwopt.train.constraints import (
    ClassMarginal,
    Constraint,
    EntropyFloor,
    HardExamples,
    InputGradient,
    Sharpness,
)


class AtMostOne(Constraint):
    """The weight of the toy problem: min (w - 3)^2 / 2 with w <= 1."""

    def value(self, model, inputs, outputs, targets):
        return model.weight.sum()


def solve_toy(term, model):
    """Set the weight to the minimum of what the term makes of the loss."""

    def lagrangian(w):
        with torch.no_grad():
            model.weight.fill_(w)
        return term.loss((model.weight.sum() - 3) ** 2 / 2, None, None, None).item()

    low, high = -10.0, 10.0
    for _ in range(200):
        third = (high - low) / 3
        if lagrangian(low + third) < lagrangian(high - third):
            high -= third
        else:
            low += third
    return (low + high) / 2


def test_toy_problem_of_the_augmented_lagrangian():
    """With a strength of 1 (w, multiplier) is (2, 1), (1.5, 1.5), (1.25, 1.75), ..."""
    model = nn.Linear(1, 1, bias=False)
    model.double()
    term = Constrained([AtMostOne(1.0)], epochs=10)
    term.start(model, 1)
    for gap in (1.0, 0.5, 0.25, 0.125):
        term.start_epoch(0.1)
        w = solve_toy(term, model)
        assert w == pytest.approx(1 + gap, abs=1e-6)
        term._sums, term._batches = [w], 1  # the search's own calls do not count
        term.start_epoch(0.1)
        assert term.multipliers == pytest.approx([2 - gap], abs=1e-6)
        term._sums, term._batches = [0.0], 0


def blobs(samples=120, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % 3
    inputs = torch.randn(samples, 4, generator=generator)
    inputs[:, 0] += 2 * labels
    return TensorDataset(inputs, labels)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def fit(model, *terms, epochs=12, **options):
    options = {"learning_rate": 0.1, "batch_size": 24, "label_smoothing": 0.0, **options}
    return train.fit(model, blobs(), epochs=epochs, terms=terms, progress=False, **options)


def measured(constraint, model):
    inputs, targets = blobs().tensors
    model.eval()
    return constraint.value(model, inputs, model(inputs), targets).item()


@pytest.mark.slow
@pytest.mark.parametrize(
    "constraint",
    [EntropyFloor(0.5), InputGradient(0.15), Sharpness(0.07, 0.5)],
    ids=lambda constraint: type(constraint).__name__,
)
def test_what_is_violated_by_plain_training_is_nearly_kept(constraint):
    plain, kept = network(), network()
    fit(plain, epochs=40)
    term = Constrained([constraint], epochs=40, strength=5.0)
    fit(kept, term, epochs=40)
    level = constraint.allowed(1.0)
    before, after = measured(constraint, plain) - level, measured(constraint, kept) - level
    assert before > 0 and after < 0.35 * before
    assert term.multipliers[0] > 0


@pytest.mark.parametrize(
    "constraint",
    [
        EntropyFloor(0.0),
        ClassMarginal(9.0),
        HardExamples(99.0),
        InputGradient(99.0),
        Sharpness(9.0),
    ],
    ids=lambda constraint: type(constraint).__name__,
)
def test_a_constraint_that_holds_changes_nothing(constraint):
    plain, other = network(), network()
    fit(plain)
    term = Constrained([constraint], epochs=12)
    fit(other, term)
    assert term.multipliers == [0.0]
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_the_largest_entropy_forces_uniform_outputs():
    model = network()
    fit(model, Constrained([EntropyFloor(math.log(3))], epochs=60, strength=20.0), epochs=60)
    assert measured(EntropyFloor(math.log(3)), model) < 0.05


def test_values():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    targets = torch.tensor([0, 0])
    p = logits.softmax(1)
    marginal = ClassMarginal(0.0, prior=(0.25, 0.75)).value(nn.Identity(), None, logits, targets)
    q = p.mean(0)
    expected = 0.25 * math.log(0.25 / q[0]) + 0.75 * math.log(0.75 / q[1])
    assert marginal.item() == pytest.approx(expected, rel=1e-5)
    hard = HardExamples(0.0).value(nn.Identity(), None, logits, targets)
    own = p[:, 0]
    assert hard.item() == pytest.approx(((1 - own) * -own.log()).mean().item(), rel=1e-5)


def test_input_gradients_and_sharpness_are_those_of_finite_differences():
    torch.manual_seed(0)
    model = nn.Linear(4, 3).double()
    x, y = torch.randn(1, 4, dtype=torch.float64), torch.tensor([1])

    def loss(inputs=x):
        return functional.cross_entropy(model(inputs), y)

    norm = InputGradient(0.0).value(model, x, None, y).item()
    steps = [loss(x + 1e-6 * e).item() - loss(x - 1e-6 * e).item() for e in torch.eye(4).double()]
    assert norm == pytest.approx(math.hypot(*steps) / 2e-6, rel=1e-5)
    sharpness = Sharpness(0.0, radius=0.1).value(model, x, None, y).item()
    gradients = torch.autograd.grad(loss(), list(model.parameters()))
    length = math.sqrt(sum(g.square().sum().item() for g in gradients))
    before = loss().item()
    with torch.no_grad():
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter += 0.1 * gradient / length
    assert sharpness == pytest.approx(loss().item() - before, rel=1e-8)


def test_levels_follow_the_progress_and_resuming_is_exact(tmp_path):
    class Stop(Exception):
        pass

    def make():
        return Constrained([EntropyFloor(0.5), HardExamples(lambda at: 1.0 - 0.9 * at)], epochs=6)

    def stop(stats):
        if stats.epoch == 3:
            raise Stop

    whole, resumed, path = network(), network(), tmp_path / "c.safetensors"
    fit(whole, make(), epochs=6)
    with pytest.raises(Stop):
        fit(resumed, make(), epochs=6, checkpoint=path, on_epoch=stop)
    resumed = network()
    fit(resumed, make(), epochs=6, checkpoint=path)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constrained([], epochs=1), "not 0, 1.0 and 0.0"),
        (lambda: Constrained([EntropyFloor(1.0)], epochs=1, strength=0.0), "not 1, 0.0 and 0.0"),
        (lambda: ClassMarginal(0.1, prior=(0.5, 0.6)), "probabilities that sum to 1"),
        (lambda: Sharpness(0.1, radius=0.0), "radius must be positive, not 0.0"),
    ],
)
def test_bad_numbers(make, message):
    with pytest.raises(HwoptError, match=message):
        make()
