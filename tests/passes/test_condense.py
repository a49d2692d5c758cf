from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import hwopt
from hwopt.passes import Context
from tests.networks import IMAGE, IMAGE_NETWORKS, Residual, make, max_difference
from tests.passes.random_graphs import SIZE, blocks, build


def empty_channels(graph, generator, axis):
    """Set rows (0) or columns (1) of about half of the channels of every weight to zero."""
    graph = graph.copy()
    for name, tensor in graph.parameters.items():
        is_weight = name.endswith(("weight", "w")) or name.startswith("w_")
        if is_weight and tensor.dim() > 1 and tensor.shape[axis] > 1:
            gone = torch.rand(tensor.shape[axis], generator=generator) < 0.5
            graph.set_parameter(name, tensor.index_fill(axis, gone.nonzero().flatten(), 0.0))
    return graph


@pytest.mark.slow
@pytest.mark.parametrize("network", IMAGE_NETWORKS)
@pytest.mark.parametrize("axis", [0, 1])
def test_networks_stay_what_they_are(network, axis):
    graph = hwopt.import_model(make(network), torch.randn(1, *IMAGE))
    empty = empty_channels(graph, torch.Generator().manual_seed(3), axis)
    small = hwopt.apply(empty, "condense", Context(debug=True))
    x = torch.randn(3, *IMAGE)
    assert max_difference(small.to_torch().eval()(x), empty.to_torch().eval()(x)) <= 1e-5
    assert network.__name__ == "Attention" or small.num_parameters() < empty.num_parameters()


@settings(max_examples=60)
@given(blocks, st.integers(0, 1), st.integers(0, 2**20))
def test_random_networks_stay_what_they_are(drawn, axis, seed):
    empty = empty_channels(build(drawn, seed), torch.Generator().manual_seed(seed), axis)
    small = hwopt.apply(empty, "condense", Context())
    x = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    expected = empty.to_torch().eval()(x)
    scale = max(1.0, expected.abs().max().item())
    assert max_difference(small.to_torch().eval()(x), expected) <= 1e-5 * scale


def test_rows_and_columns_of_a_perceptron_go():
    layers = [nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)]
    graph = hwopt.import_model(nn.Sequential(*layers), torch.randn(1, 6))
    graph.set_parameter(
        "0.weight", graph.parameter("0.weight").index_fill(0, torch.tensor([1, 2]), 0)
    )
    graph.set_parameter("4.weight", graph.parameter("4.weight").index_fill(1, torch.tensor([5]), 0))
    context = Context(debug=True)
    small = hwopt.apply(graph, "condense", context)
    assert small.parameter("0.weight").shape == (6, 6)
    assert small.parameter("2.weight").shape == (7, 6)
    assert small.parameter("4.weight").shape == (3, 7)
    assert [str(note) for _, note in context.notes] == [
        "changed 0: 2 empty channels removed",
        "changed 2: 1 empty channels removed",
    ]


def test_masks_shrink_with_their_weights():
    graph = hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))
    sparse = hwopt.apply(graph, "prune-weights{ratio=0.6,block=[1,72],layers=[conv1]}")
    small = hwopt.apply(sparse, "condense")
    left = int(sparse.masks["conv1.weight"].flatten(1).any(1).sum())
    assert small.parameter("conv1.weight").shape[0] == left < 8
    assert small.masks["conv1.weight"].shape == small.parameter("conv1.weight").shape


def test_nothing_to_do_is_said():
    graph = hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))
    context = Context()
    assert hwopt.apply(graph, "condense", context) is graph
    assert "no channel is entirely zero" in str(context.notes[0][1])
