"""What is computed only where it is asked for, in compiled models."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import hwopt
from hwopt.errors import HwoptError
from hwopt.layers import cond


class Routed(nn.Module):
    """A small convolutional network that asks a larger one about every other image or so."""

    def __init__(self, shares):
        super().__init__()
        self.shares, self.threshold = shares, 0.0
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2), nn.ReLU())
        self.small = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
        channels = 8 if shares else 1
        self.large = nn.Sequential(
            *(nn.Conv2d(channels, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 3)),
        )

    def forward(self, x):
        features = self.stem(x)
        given = self.small(features)
        asks = given[:, 0] > self.threshold
        return cond(asks, self.large(features if self.shares else x), given), asks


@pytest.fixture(params=[False, True], ids=["input", "features"])
def routed(request):
    torch.manual_seed(0)
    model = Routed(request.param).eval()
    model.threshold = float(scores(model, torch.randn(60, 1, 16, 16)).quantile(0.5))
    return model


def scores(model, x):
    with torch.no_grad():
        return model.small(model.stem(x))[:, 0]


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3])
def test_an_artefact_equals_the_model_on_both_ways(routed, batch):
    graph = hwopt.import_model(routed, torch.randn(1, 1, 16, 16))
    artifact = hwopt.compile(graph, torch.zeros(batch, 1, 16, 16), kernel_trials=0)
    x = torch.randn(60, 1, 16, 16)
    expected, asks = (result.detach() for result in routed.double()(x.double()))
    assert 5 < asks.sum() < 55
    found, routes = zip(*(artifact(part) for part in x.split(batch)), strict=True)
    assert torch.equal(torch.cat(routes), asks)
    np.testing.assert_allclose(torch.cat(found), expected, rtol=0, atol=1e-5)


@pytest.mark.alone
def test_the_large_network_runs_only_if_it_is_asked(routed):
    graph = hwopt.import_model(routed, torch.randn(1, 1, 16, 16))
    artifact = hwopt.compile(graph, kernel_trials=0)
    macs = {kernel.name: kernel.macs for kernel in artifact.manifest.kernels}
    conditional = sum(macs[call.kernel] for call in artifact.manifest.plan.calls if call.when)
    assert conditional > 0.9 * artifact.manifest.macs
    inputs = {}
    for x in torch.randn(40, 1, 1, 16, 16):
        inputs[bool(routed(x)[1])] = x.numpy()
    fast, slow = (artifact.benchmark([inputs[asked]], runs=40) for asked in (False, True))
    assert fast.median_ms < 0.7 * slow.median_ms


def test_conditions_survive_saving(routed, tmp_path):
    graph = hwopt.import_model(routed, torch.randn(1, 1, 16, 16))
    artifact = hwopt.compile(graph, kernel_trials=0, output=tmp_path / "artifact")
    again = hwopt.load(tmp_path / "artifact")
    assert again.manifest.plan == artifact.manifest.plan
    assert any(call.when for call in again.manifest.plan.calls)


def test_choices_within_a_choice():
    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 3) for _ in range(4))

        def forward(self, x):
            first, second, third, fourth = (layer(x) for layer in self.layers)
            inner = cond(second[:, 0] > 0, third, fourth)
            return cond(first[:, 0] > 0, inner, first)

    torch.manual_seed(0)
    model = Nested()
    artifact = hwopt.compile(hwopt.import_model(model, torch.randn(1, 4)), kernel_trials=0)
    depths = {len(call.when) for call in artifact.manifest.plan.calls}
    assert depths == {0, 1, 2}
    x = torch.randn(50, 4)
    found = torch.cat([artifact(row[None]) for row in x])
    np.testing.assert_allclose(found, model(x).detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 4])
def test_both_sides_read_what_the_router_reads(batch):
    """Each side is asked for alone, and neither may overwrite what the other one reads."""

    class Apart(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.router = nn.Linear(6, 64), nn.Linear(64, 1)
            self.large = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
            self.small = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 3))

        def forward(self, x):
            features = self.stem(x).relu()
            asks = self.router(features)[:, 0] > 0
            return cond(asks, self.large(features), self.small(features))

    torch.manual_seed(0)
    model, x = Apart().eval(), torch.randn(43, 6)
    graph = hwopt.import_model(model, torch.randn(1, 6))
    artifact = hwopt.compile(graph, torch.zeros(batch, 6), kernel_trials=0)
    with torch.no_grad():
        expected = model.double()(x.double())
        assert 5 < (model.router(model.stem(x.double()).relu()) > 0).sum() < 38
    np.testing.assert_allclose(artifact.predict(x), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_many_inputs_are_answered_in_groups(routed, batch, share):
    """Easy and hard ones come mixed, and their number is no multiple of the batch."""
    x = torch.randn(42, 1, 16, 16)
    found = scores(routed, x)
    routed.threshold = {0.0: 99.0, 0.3: float(found.quantile(0.7)), 1.0: -99.0}[share]
    assert (found > routed.threshold).double().mean().item() == pytest.approx(share, abs=0.02)

    class Answer(nn.Module):
        def __init__(self):
            super().__init__()
            self.routed = routed

        def forward(self, x):
            return self.routed(x)[0]

    model = Answer()
    graph = hwopt.import_model(model, torch.randn(1, 1, 16, 16))
    artifact = hwopt.compile(graph, torch.zeros(batch, 1, 16, 16), kernel_trials=0)
    found = artifact.predict(x)
    assert torch.is_tensor(found)
    expected = model.double()(x.double()).detach()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    # A call afterwards is not disturbed.
    again = artifact(x[:batch])
    np.testing.assert_allclose(again, expected[:batch], rtol=0, atol=1e-4)
    assert artifact.asked.shape == (batch,)


@pytest.mark.alone
def test_latency_over_data_tells_easy_from_hard_inputs(routed):
    graph = hwopt.import_model(routed, torch.randn(1, 1, 16, 16))
    artifact = hwopt.compile(graph, kernel_trials=0)
    x = torch.randn(60, 1, 16, 16)
    data = TensorDataset(x, torch.zeros(60))
    found = artifact.benchmark(data)
    hard = (scores(routed, x) > routed.threshold).numpy()
    assert found.coverage == pytest.approx(1 - hard.mean())
    assert (found.all.runs, found.hard.runs) == (60, hard.sum())
    assert found.easy.median_ms < 0.7 * found.hard.median_ms
    assert found.easy.p10_ms <= found.mean_ms <= found.p99_ms
    assert "% easy" in str(found) and "hard: " in str(found)
    assert artifact.benchmark(data, runs=7).all.runs == 7
    with pytest.raises(HwoptError, match="not enough inputs"):
        artifact.benchmark(TensorDataset(x[:0]))


def test_rows_without_a_choice_are_answered_by_batches():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    artifact = hwopt.compile(model, torch.zeros(4, 4), kernel_trials=0)
    x = torch.randn(10, 4)
    np.testing.assert_allclose(artifact.predict(x), model(x).detach(), rtol=0, atol=1e-5)
    assert artifact.asked is None
    latency = artifact.benchmark(TensorDataset(x))
    assert (latency.all.runs, latency.coverage, latency.hard) == (2, 1.0, None)
    with pytest.raises(HwoptError, match=r"of shape \[n, 4\] .* not float32 \[10, 3\]"):
        artifact.predict(x[:, :3])
    with pytest.raises(HwoptError, match="at least 1"):
        artifact.predict(x[:0])
