from __future__ import annotations

import pytest
import torch
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from hwopt.passes import Context
from hwopt.passes.enforce_isometry import departure


def orthogonal(inputs, outputs):
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.orthogonal_(layer.weight)
    return layer


def test_an_orthogonal_matrix_departs_by_nothing():
    assert departure(orthogonal(20, 10).weight.T).item() < 1e-5
    # With more outputs than inputs W'W has a rank of inputs only.
    assert departure(orthogonal(10, 14).weight.T).item() == pytest.approx(4**0.5, abs=1e-5)


def test_signals_pass_again_after_pruning():
    """The published effect: 90 % pruned, singular values come back to about one; masks stay."""
    torch.manual_seed(0)
    graph = hwopt.import_model(nn.Sequential(orthogonal(784, 100)), torch.randn(1, 784))
    sparse = hwopt.apply(graph, "prune-weights{ratio=0.9,criterion=random}")
    repaired = hwopt.apply(sparse, "enforce-isometry", Context(debug=True))
    before, after = (torch.linalg.svdvals(g.parameter("0.weight")) for g in (sparse, repaired))
    assert before.max() < 0.6
    assert after.min() > 0.97 and after.max() < 1.03
    assert torch.equal(repaired.masks["0.weight"], sparse.masks["0.weight"])
    assert not repaired.parameter("0.weight")[~sparse.masks["0.weight"]].any()


@pytest.mark.slow
def test_the_whole_linear_network_keeps_lengths_again():
    torch.manual_seed(0)
    layers = [orthogonal(64, 64) for _ in range(5)]
    graph = hwopt.import_model(nn.Sequential(*layers), torch.randn(1, 64))
    sparse = hwopt.apply(graph, "prune-weights{ratio=0.8,criterion=random}")
    repaired = hwopt.apply(sparse, "enforce-isometry")

    def mean_singular_value(g):
        jacobian = torch.eye(64)
        for i in range(5):
            jacobian = g.parameter(f"{i}.weight") @ jacobian
        return torch.linalg.svdvals(jacobian).mean().item()

    assert mean_singular_value(graph) == pytest.approx(1, abs=1e-4)
    assert mean_singular_value(sparse) < 0.05
    assert mean_singular_value(repaired) > 0.85


def test_convolutions_are_matrices_and_grouped_ones_are_left_alone():
    torch.manual_seed(0)
    layers = [nn.Conv2d(4, 12, 3), nn.Conv2d(12, 12, 3, groups=12), nn.ConvTranspose2d(12, 6, 2)]
    graph = hwopt.import_model(nn.Sequential(*layers), torch.randn(1, 4, 8, 8))
    context = Context()
    repaired = hwopt.apply(graph, "enforce-isometry{steps=300}", context)
    assert departure(repaired.parameter("0.weight").flatten(1).T) < 0.1
    assert departure(repaired.parameter("2.weight").movedim(1, -1).reshape(-1, 6)) < 0.1
    assert torch.equal(repaired.parameter("1.weight"), graph.parameter("1.weight"))
    assert str(context.notes[1][1]) == "kept 1.weight: its convolution is grouped"


def test_bad_input():
    graph = hwopt.import_model(orthogonal(4, 4), torch.randn(1, 4))
    with pytest.raises(HwoptError, match="steps must be positive"):
        hwopt.apply(graph, "enforce-isometry{steps=0}")
    assert hwopt.apply(graph, "enforce-isometry{layers=[nothing]}") is graph
