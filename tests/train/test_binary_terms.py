"""How weights become +1 and -1; the numbers are those of the method's checks."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from hwopt import train
from hwopt.errors import HwoptError
from hwopt.train import BinaryPull, Bop, StraightThrough, TanhAnnealing


def linear(values):
    layer = nn.Linear(len(values), 1, bias=False)
    layer.weight.data = torch.tensor([values])
    return layer


def data(samples=256):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(samples, 6, generator=generator)
    return TensorDataset(inputs, (inputs[:, 0] - inputs[:, 1] > 0).long())


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16, bias=False), nn.BatchNorm1d(16), nn.Linear(16, 2))


def fit(model, term, epochs, **options):
    options = {"batch_size": 32, "learning_rate": 0.02, "progress": False, **options}
    return train.fit(
        model,
        data(),
        epochs=epochs,
        optimizer=lambda parameters, rate: torch.optim.Adam(parameters, rate),
        schedule="linear",
        label_smoothing=0.0,
        terms=[term],
        **options,
    )


def test_without_gradients_a_weight_grows_until_it_is_one():
    """0.01 at rho = 1e-4 arrives after 23,029 steps."""
    pull, model = BinaryPull(["weight"], 1, strength=1e-4, frozen=0), linear([0.01, -0.01, 0.0])
    model.double()
    pull.start(model, 1)
    pull.start_epoch(0.0)
    for _ in range(23_028):
        pull.after_step(0.0)
    assert 0.9997 < model.weight[0, 0].item() < 1
    pull.after_step(0.0)
    assert model.weight.tolist() == [[1.0, -1.0, 0.0]]


@pytest.mark.parametrize(("rho", "expected"), [(0.1, 0.375), (0.35, 1.0), (0.4, 1.0)])
def test_the_minimum_in_the_box(rho, expected):
    """Of (w - 0.3)^2 / 2 - rho w^2, by gradient steps of 0.01 and the pull at that rate."""
    pull, model = BinaryPull(["weight"], 1, strength=0.01 * rho, frozen=0), linear([0.1])
    pull.start(model, 1)
    pull.start_epoch(0.0)
    for _ in range(5000):
        model.weight.data -= 0.01 * (model.weight.data - 0.3)
        pull.after_step(0.0)
    assert model.weight.item() == pytest.approx(expected, rel=0.02)


def test_the_pull_grows_over_the_epochs():
    pull, model = BinaryPull(["weight"], 4, strength=0.1, frozen=1), linear([0.1])
    pull.start(model, 1)
    values = []
    for _ in range(4):
        pull.start_epoch(0.0)
        pull.after_step(0.0)
        values.append(model.weight.item())
    expected = 0.1
    for epoch, value in enumerate(values[:3], 1):
        expected *= 1 + 2 * 0.1 * epoch / 4
        assert value == pytest.approx(expected)
    assert values[3] == 1.0


@pytest.mark.parametrize(("epochs", "frozen", "steps"), [(20, 2, 468), (5, 1, 10), (3, 2, 390)])
def test_the_strength_makes_weights_grow_as_much_as_asked(epochs, frozen, steps):
    strength = BinaryPull.strength_for(6.0, steps, epochs, frozen)
    pull, model = BinaryPull(["weight"], epochs, strength, frozen), linear([math.exp(-6.5)])
    pull.start(model, 1)
    for _ in range(epochs - frozen):
        pull.start_epoch(0.0)
        for _ in range(steps):
            pull.after_step(0.0)
    assert model.weight.item() == pytest.approx(math.exp(-0.5), rel=1e-2)


def test_there_is_no_growth_without_epochs_to_grow_in():
    assert BinaryPull.strength_for(6.0, 10, 3, frozen=3) == BinaryPull.strength_for(0, 10, 3) == 0
    assert BinaryPull.strength_for(1e9, 10, 3) == 3.0


TERMS = {
    "pull": lambda: BinaryPull(["0.weight"], 4, BinaryPull.strength_for(10.0, 8, 4)),
    "straight through": lambda: StraightThrough(["0.weight"], 4),
    "tanh": lambda: TanhAnnealing(["0.weight"], 4),
    "bop": lambda: Bop(["0.weight"], 4, rate=0.01),
}


@pytest.mark.parametrize("name", TERMS)
def test_all_leave_signs_and_learn(name):
    model = network()
    before = model[0].weight.detach().clone()
    history = fit(model, TERMS[name](), epochs=4)
    weight = model[0].weight.detach()
    assert set(weight.unique().tolist()) == {-1.0, 1.0}
    assert not torch.equal(weight, torch.where(before >= 0, 1.0, -1.0))
    assert "0.weight" in model.state_dict() and model[0].weight.requires_grad
    assert train.evaluate(model, data()).quality >= 0.7
    assert history.epochs[-1].loss < history.epochs[0].loss


@pytest.mark.parametrize("name", TERMS)
def test_a_resumed_training_ends_as_one_that_was_not_stopped(name, tmp_path):
    whole, stopped, resumed = network(), network(), network()
    fit(whole, TERMS[name](), epochs=4)

    class Stop(Exception):
        pass

    def stop(stats):
        if stats.epoch == 2:
            raise Stop

    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stop):
        fit(stopped, TERMS[name](), epochs=4, checkpoint=checkpoint, on_epoch=stop)
    fit(resumed, TERMS[name](), epochs=4, checkpoint=checkpoint)
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key


def test_the_first_phase_keeps_weights_real_and_in_the_box():
    model = network()
    model[0].weight.data *= 10
    fit(model, BinaryPull(["0.weight"], 2, strength=0.0, frozen=0), epochs=2)
    weight = model[0].weight.detach()
    assert weight.abs().max() <= 1 and len(weight.unique()) > 10


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BinaryPull([], 1), "no binary layer"),
        (lambda: BinaryPull(["w"], 1, strength=-1.0), "strength of the pull"),
        (lambda: BinaryPull(["w"], 3, frozen=4), "frozen epochs must be 0 to 3"),
        (lambda: BinaryPull(["missing.weight"], 1).start(network(), 1), "of another model"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(HwoptError, match=message):
        make()


def test_a_term_can_be_used_again():
    term, accuracies = BinaryPull(["0.weight"], 3, strength=0.05), []
    for _ in range(2):
        accuracies.append(fit(network(), term, 3).epochs[-1].quality)
        assert term.epoch == 3
    assert accuracies[0] == accuracies[1]


def test_a_term_that_cannot_start_leaves_nothing_of_the_others_behind():
    model = network()
    terms = [StraightThrough(["0.weight"], 1), BinaryPull(["1.nothing"], 1)]
    with pytest.raises(HwoptError, match=r"has no '1\.nothing'"):
        train.fit(model, data(), epochs=1, terms=terms, progress=False)
    assert type(model[0]) is nn.Linear and "weight" in dict(model[0].named_parameters())
