from __future__ import annotations

import pytest
import torch
from torch import nn

import hwopt
from hwopt.passes import Context
from tests.networks import IMAGE, IMAGE_NETWORKS, make, max_difference, randomize


@pytest.mark.parametrize("network", IMAGE_NETWORKS)
def test_the_function_stays(network):
    model, x = make(network), torch.randn(4, *IMAGE)
    graph = hwopt.import_model(model, x)
    folded = hwopt.apply(graph, "fold-batch-norm")
    assert not folded.nodes("batch_norm")
    assert max_difference(folded.to_torch().eval()(x), model(x)) <= 2e-5


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.ConvTranspose2d(3, 5, 3, stride=2, bias=False), nn.BatchNorm2d(5)),
        nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6, affine=False)),
        nn.Sequential(nn.Flatten(), nn.Linear(192, 7), nn.BatchNorm1d(7)),
        nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.BatchNorm2d(6)),
    ],
)
def test_every_kind_of_layer(model):
    model, x = randomize(model).eval(), torch.randn(2, *IMAGE)
    folded = hwopt.apply(hwopt.import_model(model, x), "fold-batch-norm")
    assert not folded.nodes("batch_norm")
    assert max_difference(folded.to_torch().eval()(x), model(x)) <= 2e-5


class SharedOutput(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + y


class SharedWeight(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(self.conv(x)))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (SharedOutput(), "has other readers"),
        (SharedWeight(), "is shared by several nodes"),
        (nn.BatchNorm2d(3), "its input comes from input"),
        (nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)), "no run"),
    ],
)
def test_what_cannot_be_folded_is_noted_with_the_reason(model, reason):
    graph = hwopt.import_model(randomize(model), torch.randn(1, *IMAGE))
    context = Context()
    assert hwopt.apply(graph, "fold-batch-norm", context) is graph
    assert reason in context.notes[0][1].message and not context.notes[0][1].changed
