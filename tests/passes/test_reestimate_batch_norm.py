"""``reestimate-batch-norm``: statistics become those of the data."""

import pytest
import torch
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from hwopt.passes import Context


@pytest.fixture
def graph():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten()
    )
    return hwopt.import_model(model.eval(), torch.zeros(1, 3, 6, 6))


def context(count):
    generator = torch.Generator().manual_seed(1)
    batches = [
        (3 * torch.randn(8, 3, 6, 6, generator=generator) + 2, torch.zeros(8)) for _ in range(count)
    ]
    return Context(batches=lambda: batches), batches


@pytest.mark.parametrize("wanted", [0, 2])
def test_statistics_are_averages_over_the_batches(graph, wanted):
    given, batches = context(4)
    result = hwopt.apply(graph, f"reestimate-batch-norm{{batches={wanted}}}", given)
    used = batches[: wanted or None]
    means = torch.stack([x.mean((0, 2, 3)) for x, _ in used]).mean(0)
    variances = torch.stack([x.var((0, 2, 3)) for x, _ in used]).mean(0)
    assert torch.allclose(result.parameter("0.running_mean"), means, atol=1e-5)
    assert torch.allclose(result.parameter("0.running_var"), variances, rtol=1e-5)
    assert not torch.equal(result.parameter("3.running_var"), graph.parameter("3.running_var"))
    assert torch.equal(result.parameter("2.weight"), graph.parameter("2.weight"))
    assert result.node("0").attributes == graph.node("0").attributes
    assert f"over {len(used)} batches" in given.notes[0][1].message


def test_without_norms_nothing_changes():
    model = nn.Sequential(nn.Linear(3, 2))
    graph = hwopt.import_model(model, torch.zeros(1, 3))
    given, _ = context(1)
    assert hwopt.apply(graph, "reestimate-batch-norm", given) is graph


def test_norms_without_running_statistics_stay():
    model = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 2))
    graph = hwopt.import_model(model, torch.zeros(4, 3))
    given, _ = context(1)
    assert hwopt.apply(graph, "reestimate-batch-norm", given) is graph
    assert "no batch norms with running statistics" in given.notes[0][1].message


def test_no_samples_are_no_statistics(graph):
    with pytest.raises(HwoptError, match="the data has no samples"):
        hwopt.apply(graph, "reestimate-batch-norm", Context(batches=lambda: iter(())))


def test_what_is_missing_is_said(graph):
    with pytest.raises(HwoptError, match="needs data"):
        hwopt.apply(graph, "reestimate-batch-norm")
    with pytest.raises(HwoptError, match="batches must be at least 0, not -1"):
        hwopt.apply(graph, "reestimate-batch-norm{batches=-1}")
