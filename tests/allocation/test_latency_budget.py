from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from torch import nn
from torch.utils.data import TensorDataset

import hwopt
from hwopt import data, models, targets, train
from hwopt.allocation.allocate import fastest, lowest_price, priced
from hwopt.allocation.latency_budget import LatencyBudget
from hwopt.compiler.graph_latency import GraphLatency
from hwopt.errors import HwoptError
from hwopt.passes import Context
from hwopt.passes.prune_channels import PruneChannels
from tests.allocation.test_allocate import tables
from tests.train.small_trainings import at_once_and_resumed, equal

TRAINING = {"learning_rate": 0.1, "progress": False}


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def graph(digits):
    torch.manual_seed(0)
    model = models.create("resnet8", input_shape=digits.input_shape, width=8)
    graph = hwopt.import_model(model, torch.zeros(1, *digits.input_shape))
    module = graph.to_torch()
    train.fit(module, digits, epochs=3, **TRAINING)
    return graph.with_weights_of(module)


@pytest.fixture(scope="module")
def latency(graph):
    """An eighth of the time does not depend on widths, which predictions cannot know."""
    fixed = graph.macs() / 8
    return lambda graphs: [(fixed + one.macs()) / 1e6 for one in graphs]


def trained(graph, digits, term, epochs=6, **options):
    module = graph.to_torch()
    history = train.fit(module, digits, epochs=epochs, terms=[term], **TRAINING, **options)
    return module, history


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.7, 0.35])
def test_training_ends_inside_the_budget_and_learns_on(graph, digits, latency, share):
    term = LatencyBudget(graph, latency, 6, share=share, widths=8)
    module, history = trained(graph, digits, term)
    small = term.condensed()
    reached = latency([small])[0] / latency([graph])[0]
    assert share - 0.1 < reached <= share
    assert term.measured_ms == pytest.approx(latency([small])[0])
    assert term.multiplier > 0
    last = history.epochs[-1].notes
    assert last.startswith(f"latency {term.measured_ms:.4g} of {term.budget_ms:.4g} ms, multiplier")
    # What was removed was zero, so nothing changes; and it is not far from what it was.
    wide, narrow = (train.evaluate(one, digits.test) for one in (module, small.to_torch()))
    assert narrow.loss == pytest.approx(wide.loss, rel=1e-4)
    assert narrow.quality > train.evaluate(graph.to_torch(), digits.test).quality - 0.1


@pytest.mark.slow
def test_a_latency_that_is_inside_already_costs_nothing(graph, digits, latency):
    plain = graph.to_torch()
    train.fit(plain, digits, epochs=4, **TRAINING)
    term = LatencyBudget(graph, latency, 4, budget_ms=2 * latency([graph])[0], widths=4)
    module, _ = trained(graph, digits, term, epochs=4)
    assert term.multiplier == 0
    for ours, theirs in zip(module.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.slow
def test_what_cannot_be_reached_ends_as_fast_as_it_can(graph, digits, latency):
    term = LatencyBudget(graph, latency, 4, share=0.01, widths=4)
    trained(graph, digits, term, epochs=4)
    assert term.measured_ms > term.budget_ms
    assert term.multiplier > 1
    small = term.condensed()
    widths = {small.parameter(f"stages.{n}.conv1.weight").shape[0] for n in range(3)}
    assert widths == {2, 4, 8}  # a quarter of 8, 16 and 32, the least that four widths offer


@pytest.mark.slow
def test_a_killed_training_goes_on_bit_for_bit(graph, digits, latency, tmp_path):
    def once(checkpoint, on_epoch):
        term = LatencyBudget(graph, latency, 6, share=0.5, widths=8)
        module, _ = trained(graph, digits, term, checkpoint=checkpoint, on_epoch=on_epoch)
        return module, term

    (whole, first), (resumed, second) = at_once_and_resumed(once, tmp_path)
    assert (first.multiplier, first.measured_ms) == (second.multiplier, second.measured_ms)
    assert equal(whole, resumed)


def test_what_cannot_be_is_said_in_one_sentence(graph, latency):
    for options, message in (
        ({}, "takes either ms or a share of the latency"),
        ({"share": 0.5, "budget_ms": 1.0}, "takes either ms or a share of the latency"),
        ({"share": 0.5, "settled": 1.0}, r"settled in \(0, 1\)"),
        ({"share": 0.5, "every": 5}, "no round of 5 for the latency budget"),
    ):
        with pytest.raises(HwoptError, match=message):
            LatencyBudget(graph, latency, 6, **options)
    linear = hwopt.import_model(nn.Linear(4, 3), torch.zeros(1, 4))
    dataset = TensorDataset(torch.zeros(8, 4), torch.zeros(8, dtype=torch.long))
    term = LatencyBudget(linear, latency, 6, share=0.5)
    with pytest.raises(HwoptError, match="no channels can be removed"):
        train.fit(linear.to_torch(), dataset, epochs=6, terms=[term], progress=False)
    with pytest.raises(HwoptError, match="channels are of another model"):
        LatencyBudget(graph, latency, 6, share=0.5).start(linear.to_torch(), 1)


def test_channels_that_a_group_norm_counts_stay(digits):
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, stride=4), nn.GroupNorm(2, 8), nn.ReLU()]
    layers += [nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 10)]
    graph = hwopt.import_model(nn.Sequential(*layers), torch.zeros(1, *digits.input_shape))
    term = LatencyBudget(graph, lambda graphs: [one.macs() / 1e3 for one in graphs], 5, share=0.7)
    trained(graph, digits, term, epochs=5)
    small = term.condensed()
    assert small.parameter("0.weight").shape[0] == 8
    assert small.parameter("3.weight").shape[0] < 16
    assert term.measured_ms == pytest.approx(small.macs() / 1e3) and term.multiplier > 0
    assert small.macs() <= 0.7 * graph.macs()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["ds_cnn", "mobilenet_v1_025", "mobilenet_v2", "resnet18", "autoencoder"]
)
def test_what_is_planned_is_what_condense_removes(name):
    """Depthwise layers, inverted residual blocks, shared shortcuts, layers without norms."""
    torch.manual_seed(0)
    module = models.create(name)
    graph = hwopt.import_model(module, torch.zeros(1, *models.info(name).input_shape))
    term = LatencyBudget(graph, lambda graphs: [1.0 for _ in graphs], 4, share=0.5)
    term.start(graph.to_torch(), 1)
    pruning = PruneChannels(ratio=0.4, constants="drop")
    kept, _ = pruning.choose(term._ranking, Context())
    planned = pruning.prune(term._ranking, Context()).graph
    parameters = {name: graph.parameter(name).clone() for name in term._channels.slices}
    term._channels.scale(parameters, torch.from_numpy(~kept.removed).float())
    zeroed = graph.copy()
    for name, tensor in parameters.items():
        zeroed.set_parameter(name, tensor)
    small = hwopt.apply(zeroed, "condense")
    assert planned.macs() < 0.8 * graph.macs()
    assert (small.macs(), small.num_parameters()) == (planned.macs(), planned.num_parameters())


@pytest.mark.slow
def test_noise_removes_nothing_from_what_is_inside(graph, digits):
    noise = iter(range(10**6))
    term = LatencyBudget(
        graph, lambda graphs: [1 + 0.01 * (next(noise) % 7) for _ in graphs], 4, share=1.0, widths=3
    )
    trained(graph, digits, term, epochs=4)
    assert term.condensed().macs() == graph.macs()


@pytest.mark.alone
@pytest.mark.slow
def test_the_budget_is_kept_as_measured_on_this_machine(digits, tmp_path):
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)]
    graph = hwopt.import_model(nn.Sequential(*layers), torch.zeros(1, *digits.input_shape))
    target, memory = targets.get("host", threads=1), tmp_path / "latencies.json"
    latency = GraphLatency(target, kernel_trials=0, runs=100, memory=memory)
    term = LatencyBudget(graph, latency, 4, share=0.6, widths=4)
    trained(graph, digits, term, epochs=4)
    dense_ms, small_ms = latency([graph, term.condensed()])
    assert small_ms <= 0.6 * dense_ms
    assert term.measured_ms == pytest.approx(small_ms)


@given(tables())
def test_the_lowest_price_fits_and_a_lower_one_does_not(table):
    for budget in (0.9, 0.6, 0.3):
        price = lowest_price(table, budget)
        if fastest(table) > budget:
            assert price == math.inf
            continue
        assert priced(table, price).predicted <= budget
        if price > 0:
            assert priced(table, price * (1 - 1e-6)).predicted > budget
