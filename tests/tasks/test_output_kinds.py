"""Kinds of outputs: what their random slopes say of the loss where the teacher is met."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.functional import hessian, jacobian

from hwopt.data import Batch
from hwopt.tasks import Imitation
from hwopt.tasks.output_kinds import KINDS, kind_of

SHAPES = {"classes": (1, 4), "shares": (1, 4), "masks": (1, 1, 4), "vectors": (1, 4)}
DRAWS = 20_000


@pytest.mark.parametrize("name", KINDS)
def test_slopes_vary_as_the_loss_curves(name):
    generator = torch.Generator().manual_seed(0)
    taught = torch.randn(SHAPES.get(name, (1, 2, 2)), generator=generator, dtype=torch.float64)
    if name == "shares":
        taught = taught.softmax(1)
    kind, temperature = KINDS[name], 2.0

    def loss(said):
        return kind.loss(said, taught, temperature).sum()

    at = taught.clone()
    if name != "shares":  # of which the gradient is the same in all directions: they sum to 1
        assert jacobian(loss, at).abs().max() < 1e-7
    expected = hessian(loss, at).reshape(4, 4)
    many = torch.cat([kind.slope(taught, temperature, generator).flatten(1) for _ in range(DRAWS)])
    found = many.T @ many / DRAWS
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("name", KINDS)
def test_who_says_the_same_loses_nothing_and_agrees(name):
    taught = torch.rand(3, 4, 2, 2, dtype=torch.float64) + 0.1
    taught = taught / taught.sum(1, keepdim=True)
    assert KINDS[name].loss(taught, taught, 2.0).abs().max() < 1e-7
    torch.testing.assert_close(KINDS[name].agreement(taught, taught), torch.ones(3).double())
    assert (KINDS[name].loss(taught.flip(1), taught, 2.0) > 0).all()


def test_outputs_without_another_axis_are_probed():
    task = Imitation(kinds=("numbers", "classes"))
    said = torch.randn(6), torch.randn(6, 3)
    found = task.probe(said, Batch(None, said), torch.Generator().manual_seed(0))
    assert found.shape == (6,) and found.isfinite().all()


def test_outputs_are_told_apart():
    logits = torch.randn(3, 5)
    assert kind_of(logits) == "classes" and kind_of(logits.softmax(1)) == "shares"
    assert kind_of(torch.randn(3, 1)) == "numbers" and kind_of(torch.randn(3, 8, 5)) == "numbers"
    assert kind_of(torch.randn(2, 3, 4, 4)) == "classes"
