from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import TensorDataset

import hwopt
from hwopt.errors import HwoptError
from hwopt.tasks import Regression
from hwopt.train.scaling import (
    Metaparameters,
    fit_scaling,
    from_unit,
    lipschitz,
    quasi_random,
    steps_needed,
)
from hwopt.train.steps_to_result import steps_to_result

positive = st.floats(0.01, 100)


@given(positive, positive, positive, positive)
def test_the_law_holds_for_the_steps_needed(distance, smoothness, variance, level):
    """K is at most c1 / B + c2, falls with B, and B K is constant where noise dominates."""
    c1 = 8 * distance * smoothness * variance / level**2
    c2 = 2 * distance * smoothness / level
    edge = 2 * variance / level
    batches = [edge * factor for factor in (0.1, 0.5, 1.0, 1.5, 4.0, 1e6)]
    steps = [steps_needed(b, distance, smoothness, variance, level) for b in batches]
    for batch, count in zip(batches, steps, strict=True):
        assert count <= (c1 / batch + c2) * (1 + 1e-9)
    assert steps == sorted(steps, reverse=True)
    assert steps[0] * batches[0] == pytest.approx(steps[2] * batches[2])
    assert steps[-1] == pytest.approx(c2, rel=1e-5)


def test_steps_needed_are_the_best_over_rates():
    for batch in (1, 3, 100, 1000):
        rates = np.linspace(1e-4, 0.1, 100_000)  # at most 1 / L
        noise = rates * 10.0 * 4.0 / batch
        steps = np.where(noise < 0.5, 2 * 1.0 / (rates * (0.5 - noise).clip(1e-12)), np.inf)
        assert steps_needed(batch, 1.0, 10.0, 4.0, 0.5) == pytest.approx(steps.min(), rel=1e-3)


@given(st.floats(1, 1e5), st.floats(1, 1e4), st.integers(0, 2**32 - 1))
def test_a_fit_finds_the_law_in_noise(c1, c2, seed):
    noise = np.random.default_rng(seed).normal(1, 0.01, 10)
    batches = [2**n for n in range(10)]
    law = fit_scaling({b: (c1 / b + c2) * e for b, e in zip(batches, noise, strict=True)})
    for batch in batches:
        assert law.steps(batch) == pytest.approx(c1 / batch + c2, rel=0.05)
    if c1 > c2:
        assert law.r_squared > 0.9


def test_too_little_to_fit_is_refused():
    assert fit_scaling({1: 8.0, 2: 4.0, 4: 2.0}).diminishing_returns > 1e6
    for steps in ({1: 10.0, 2: 5.0}, {1: 10.0, 2: 0.0, 4: 1.0}):
        with pytest.raises(HwoptError, match="at least three batch sizes"):
            fit_scaling(steps)


def test_points_fill_the_ranges():
    points = quasi_random(62)
    rates = np.log10([point.learning_rate for point in points])
    assert rates.min() < -3.8 and rates.max() > -0.2
    assert abs(rates.mean() + 2) < 0.1
    assert len({point.momentum for point in points}) == 62
    assert from_unit(0, 0).learning_rate == 1e-4 and from_unit(1, 1).momentum == 0.9999


def quadratic(curvatures):
    """Samples of which the mean squared error of a linear layer has these curvatures."""
    inputs = torch.diag((torch.tensor(curvatures) * len(curvatures) / 2).sqrt())
    dataset = TensorDataset(inputs, torch.zeros(len(curvatures), 1))
    return nn.Linear(len(curvatures), 1, bias=False), dataset


def test_the_constant_of_a_quadratic_is_its_curvature_in_the_direction():
    model, dataset = quadratic([1.0, 4.0, 9.0])
    before = {"weight": torch.randn(1, 3)}
    for direction, curvature in (([1.0, 0, 0], 1.0), ([0, 0, 2.0], 9.0)):
        after = {"weight": before["weight"] + torch.tensor([direction])}
        kept = model.weight.detach().clone()
        found = lipschitz(model, dataset, before, after, Regression(), chunk=2)
        assert found == pytest.approx(curvature, rel=1e-3)
        assert torch.equal(model.weight, kept) and model.training
    with pytest.raises(HwoptError, match="two different points"):
        lipschitz(model, dataset, before, before, Regression())


def test_what_is_masked_does_not_count():
    model, dataset = quadratic([1.0, 4.0])
    graph = hwopt.import_model(model, torch.ones(1, 2))
    graph.set_mask("weight", torch.tensor([[True, False]]))
    module = graph.to_torch()
    (name,) = dict(module.named_parameters())
    before, after = {name: torch.zeros(1, 2)}, {name: torch.tensor([[1.0, 5.0]])}
    found = lipschitz(module, dataset, before, after, Regression())
    assert found == pytest.approx(1.0, rel=1e-3)


def blobs(samples, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % 2
    points = torch.randn(samples, 4, generator=generator) + 3.0 * labels[:, None]
    return TensorDataset(points, labels)


def linear(seed):
    torch.manual_seed(seed)
    return nn.Linear(4, 2)


def test_the_fewest_steps_of_all_trials_count():
    training, validation = blobs(256, 0), blobs(200, 1)
    trials = [
        Metaparameters(1e-6, 0.0),
        Metaparameters(0.01, 0.0),
        Metaparameters(0.1, 0.9),
        Metaparameters(1e38, 0.9),
    ]
    options = {"batch_size": 16, "goal": 0.05, "most_steps": 400, "check_every": 5, "threads": 1}
    found = steps_to_result(linear, training, validation, trials=trials, **options)
    assert found.best == trials[2] and found.steps % 5 == 0
    assert (found.reached, found.incomplete, found.infeasible) == (2, 1, 1)
    again = steps_to_result(linear, training, validation, trials=trials, **options)
    assert again == found
    none = steps_to_result(linear, training, validation, trials=trials[:1], **options)
    assert none.steps is None and none.best is None and none.incomplete == 1


def test_bad_numbers_are_one_sentence():
    training = blobs(8, 0)
    for change in ({"batch_size": 9}, {"goal": 1.0}, {"most_steps": 0}):
        options = {"batch_size": 4, "goal": 0.1, "most_steps": 10} | change
        with pytest.raises(HwoptError, match="steps to a result: a batch must have 1 to 8"):
            steps_to_result(linear, training, training, **options)
