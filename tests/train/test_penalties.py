from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import TensorDataset

import hwopt
from hwopt import train
from hwopt.errors import HwoptError
from hwopt.passes.layers import weights
from hwopt.train import ChannelSlices, L1Penalty
from tests.networks import IMAGE, Residual, make


def linear(values):
    layer = nn.Linear(len(values), 1, bias=False)
    layer.weight.data = torch.tensor([values])
    return layer


def data(samples=256, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, 10, generator=generator)
    return TensorDataset(inputs, (inputs[:, 0] + inputs[:, 1] > 0).long())


def scalar_reference(weight, gradients, rate, share):
    """Tsuruoka et al. 2009, figure 2, for one weight in plain Python."""
    possible = received = 0.0
    for gradient in gradients:
        possible += rate * share
        weight -= rate * gradient
        old = weight
        if weight > 0:
            weight = max(0.0, weight - (possible + received))
        elif weight < 0:
            weight = min(0.0, weight + (possible - received))
        received += weight - old
        assert abs(received) <= possible + 1e-6
    return weight


@settings(max_examples=50)
@given(st.floats(-1, 1), st.lists(st.floats(-1, 1), min_size=1, max_size=12))
def test_cumulative_is_the_published_algorithm(start, gradients):
    model = linear([start])
    penalty = L1Penalty(strength=3.0)
    penalty.start(model, samples=10)
    for gradient in gradients:
        model.weight.data -= 0.2 * gradient
        penalty.after_step(0.2)
    expected = scalar_reference(start, gradients, 0.2, 0.3)
    assert model.weight.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("form", ["cumulative", "proximal"])
def test_without_gradient_both_forms_soft_threshold(form):
    model = linear([0.5, -0.25, 0.04])
    penalty = L1Penalty(strength=1.0, form=form)
    penalty.start(model, samples=1)
    for _ in range(2):
        penalty.after_step(0.1)
    assert torch.allclose(model.weight.data, torch.tensor([[0.3, -0.05, 0.0]]), atol=1e-6)


def test_the_penalty_grows_by_steps_or_by_epochs():
    model = linear([1.0])
    penalty = L1Penalty(strength=1.0, grows="epoch")
    penalty.start(model, samples=1)
    for _ in range(2):
        penalty.start_epoch(0.1)
        for _ in range(5):
            penalty.after_step(0.1)
    assert model.weight.item() == pytest.approx(0.8)


def test_channels_become_zero_as_a_whole_and_condense_removes_them():
    graph = hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))
    everything = ChannelSlices.of(graph)
    one = {"conv1.weight": everything.slices["conv1.weight"]}
    slices = dataclasses.replace(everything, slices=one)
    module = graph.to_torch()
    strong = module.get_parameter("conv1.weight")
    with torch.no_grad():
        strong[3:] *= 100
    penalty = L1Penalty(strength=1.0, form="proximal", channels=slices)
    penalty.start(module, samples=1)
    for _ in range(100):
        penalty.after_step(0.01)
    zero_rows = (strong == 0).flatten(1).all(1)
    assert torch.equal(zero_rows, torch.arange(8) < 3)
    assert (everything.slices["fc.weight"][1] == -1).all()  # they make the outputs
    small = hwopt.apply(graph.with_weights_of(module), "condense{constants=bias}")
    assert small.parameter("conv1.weight").shape[0] == 5


def test_only_the_named_weights_are_penalised():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm((2, 4)))
    graph = hwopt.import_model(model, torch.randn(1, 2, 4))
    module = graph.to_torch()
    penalty = L1Penalty(strength=1.0, weights=weights(graph))
    penalty.start(module, samples=1)
    penalty.after_step(learning_rate=10.0)
    assert not module.get_parameter("0.weight").any()
    assert torch.equal(module.get_parameter("1.weight"), torch.ones(2, 4))
    with pytest.raises(HwoptError, match="the weights are of another model: it has no 'w'"):
        L1Penalty(strength=1.0, weights=["w"]).start(module, samples=1)


@pytest.mark.parametrize("form", ["cumulative", "proximal"])
@pytest.mark.parametrize("by_channels", [False, True])
def test_a_stronger_penalty_leaves_fewer_weights(form, by_channels):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 2))
    graph = hwopt.import_model(model, torch.randn(1, 10))
    left = []
    for strength in (0.0, 20.0, 100.0):
        module = graph.to_torch()
        slices = ChannelSlices.of(graph) if by_channels else None
        penalty = L1Penalty(strength, form, channels=slices)
        options = {"epochs": 5, "batch_size": 16, "weight_decay": 0.0, "progress": False}
        train.fit(module, data(), terms=[penalty], **options)
        left.append(int(module.get_parameter("0.weight").count_nonzero()))
    assert left[0] == 160 and left[0] > left[1] > left[2]


def test_a_killed_training_goes_on_with_the_same_penalty(tmp_path):
    options = {"batch_size": 16, "progress": False, "schedule": "constant"}

    def run(epochs, checkpoint):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 2))
        stopping = Stop(after=epochs)
        try:
            train.fit(
                model,
                data(),
                epochs=4,
                terms=[L1Penalty(3.0)],
                checkpoint=checkpoint,
                on_epoch=stopping,
                **options,
            )
        except InterruptedError:
            assert epochs < 4
        return model

    whole = run(4, tmp_path / "whole")
    run(2, tmp_path / "cut")
    resumed = run(4, tmp_path / "cut")
    for first, second in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(first, second)
    with pytest.raises(HwoptError, match="terms"):
        train.fit(whole, data(), epochs=4, checkpoint=tmp_path / "cut", **options)


class Stop:
    def __init__(self, after):
        self.after = after

    def __call__(self, stats):
        if stats.epoch == self.after < 4:
            raise InterruptedError


def test_bad_input():
    with pytest.raises(HwoptError, match="at least 0"):
        L1Penalty(-1.0)
    graph = hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))
    with pytest.raises(HwoptError, match="of another model"):
        L1Penalty(1.0, channels=ChannelSlices.of(graph)).start(nn.Linear(2, 2), 1)
