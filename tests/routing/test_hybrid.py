"""Trainings of routed networks on the digits."""

import pytest
import torch
from torch.nn import functional

import hwopt
from hwopt import data, models, passes, tasks, train
from hwopt.errors import HwoptError
from hwopt.passes.route import Route
from hwopt.routing.hybrid import Routed, fit_routed
from hwopt.routing.routed_parts import answers, judged
from hwopt.routing.routes import choose_point, route_points


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def trained(digits, width, epochs):
    torch.manual_seed(width)
    model = models.create("resnet8", input_shape=digits.input_shape, width=width)
    train.fit(model, digits, epochs=epochs, progress=False)
    return hwopt.import_model(model, torch.zeros(1, *digits.input_shape))


@pytest.fixture(scope="module")
def routed(digits):
    small, large = trained(digits, 2, 3), trained(digits, 8, 6)
    return Route(width=16).joined(small, large, passes.Context()).graph


def loss_of(task, small, large, score, targets, **options):
    """Return the mean loss of routing, given what both networks say."""
    good = torch.from_numpy(task.evidence(large, data.Batch(None, targets)))
    batch = data.Batch(None, (targets, good))
    return Routed(task, **options).loss((small, score), batch).mean()


def test_the_expert_should_be_asked_where_it_alone_is_right():
    small, large = torch.eye(2)[[0, 1, 1, 0]], torch.eye(2)[[0, 0, 1, 1]]
    labels, score = torch.zeros(4, dtype=torch.int64), torch.randn(4)
    wanted = torch.tensor([0.0, 1.0, 0.0, 0.0])
    options = {"coverage": 0.0, "with_small": False}
    found = loss_of(tasks.Classification(), small, large, score, labels, **options)
    torch.testing.assert_close(found, functional.binary_cross_entropy_with_logits(score, wanted))


def test_the_expert_should_be_asked_where_its_number_is_nearer():
    small, large, targets = (
        torch.tensor([[1.0], [3.0]]),
        torch.tensor([[2.0], [2.0]]),
        torch.ones(2),
    )
    score, wanted = torch.randn(2), torch.tensor([0.0, 1.0])
    options = {"coverage": 0.0, "with_small": False}
    found = loss_of(tasks.Regression(), small, large, score, targets, **options)
    torch.testing.assert_close(found, functional.binary_cross_entropy_with_logits(score, wanted))
    with pytest.raises(HwoptError, match=r"R² is of all inputs together: .* cannot be routed"):
        loss_of(tasks.Regression(by="r2"), small, large, score, targets)


def test_the_loss_of_routing():
    torch.manual_seed(0)
    small, large, labels = torch.randn(8, 3), torch.randn(8, 3), torch.arange(8) % 3
    asks = ((small.argmax(1) != labels) & (large.argmax(1) == labels)).float()
    classes = tasks.Classification()
    # All are asked: nothing is covered, and the small network's loss counts once.
    high = torch.full((8,), 50.0)
    options = {"coverage": 0.7, "strength": 2.0}
    found = loss_of(classes, small, large, high, labels, **options)
    once = functional.cross_entropy(small, labels)
    missed = functional.binary_cross_entropy_with_logits(high, asks) + 2 * 0.7
    torch.testing.assert_close(found, once + missed)
    # None is asked: it counts twice.
    found = loss_of(classes, small, large, -high, labels, **options)
    missed = functional.binary_cross_entropy_with_logits(-high, asks)
    torch.testing.assert_close(found, 2 * once + missed)


@pytest.mark.slow
def test_training_keeps_the_expert_and_improves_the_router(routed, digits):
    after = fit_routed(routed, digits, epochs=4, learning_rate=0.02, progress=False)
    for name, tensor in routed.parameters.items():
        changed = not torch.equal(tensor, after.parameter(name))
        assert not (changed and name.startswith("expert.")), name
    accuracies = []
    for graph in (routed, after):
        points = route_points(*judged(graph, digits.validation))
        accuracies.append(choose_point(points, coverage=0.7).quality)
    assert accuracies[1] > accuracies[0]


def test_the_router_alone(routed, digits):
    after = fit_routed(
        routed, digits.validation, epochs=1, batch_size=32, only_router=True, progress=False
    )
    changed = {
        name
        for name, tensor in routed.parameters.items()
        if not torch.equal(tensor, after.parameter(name))
    }
    assert changed and all(name.startswith("router.") for name in changed)


@pytest.mark.slow
def test_an_exit_leaves_the_trunk_to_the_expert(digits):
    graph = hwopt.apply(trained(digits, 4, 1), "route{cut=stages.0.relu2,width=16}")
    after = fit_routed(graph, digits, epochs=1, progress=False)
    changed = {
        name
        for name, tensor in graph.parameters.items()
        if not torch.equal(tensor, after.parameter(name))
    }
    assert {name.partition(".")[0] for name in changed} == {"exit", "router"}
    large = [answers(one, digits.test).large for one in (graph, after)]
    assert torch.equal(*large)


@pytest.mark.slow
def test_an_exit_with_a_router_that_does_not_learn(digits):
    graph = hwopt.apply(trained(digits, 8, 6), "route{cut=stages.1.relu2,router=entropy}")
    after = fit_routed(graph, digits, epochs=8, learning_rate=1.0, batch_size=64, progress=False)
    rights = []
    for one in (graph, after):
        rights.append(judged(one, digits.test).small.mean())
    assert rights[0] < 0.3 and rights[1] > 0.5
    with pytest.raises(HwoptError, match="has nothing to learn: route with router=learned"):
        fit_routed(graph, digits, epochs=1, only_router=True)
