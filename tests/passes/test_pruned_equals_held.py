"""Removing channels is the same as holding them at their constant."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hwopt
from benchmarks.architectures import ARCHITECTURES, example
from hwopt.passes import Context, parse
from tests.networks import IMAGE, IMAGE_NETWORKS, make, max_difference, randomize
from tests.passes.held import held
from tests.passes.random_graphs import SIZE, blocks, build

PARTS = ("narrow", "whole")


def difference(graph, options, inputs, border=True):
    """Return the largest difference of the outputs, by the largest output if that is over 1."""
    (instance,) = parse(f"prune-channels{{{options}}}")
    kept, _ = instance.choose(instance.rank(graph, Context()), Context())
    pruned = hwopt.apply(graph, instance, Context(debug=True))
    expected = held(kept, inputs, border=border)
    got = pruned.to_torch().eval()(inputs)
    return max_difference(got, expected) / max(1.0, expected.abs().max().item())


@pytest.mark.slow
@pytest.mark.parametrize("network", IMAGE_NETWORKS)
@pytest.mark.parametrize("parts", PARTS)
def test_networks(network, parts):
    graph = hwopt.import_model(make(network), torch.randn(1, *IMAGE))
    x = torch.randn(3, *IMAGE)
    assert difference(graph, f"constants=exact,parts={parts}", x) <= 1e-5


@pytest.mark.parametrize("network", IMAGE_NETWORKS[:5])
def test_without_the_border_what_is_added_is_the_mean_over_positions(network):
    graph = hwopt.import_model(make(network), torch.randn(1, *IMAGE))
    assert difference(graph, "constants=bias", torch.randn(3, *IMAGE), border=False) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("parts", PARTS)
def test_architectures(name, parts):
    torch.manual_seed(0)
    graph = hwopt.import_model(randomize(ARCHITECTURES[name]()).eval(), example(name, 1))
    options = f"constants=exact,parts={parts},ratio=0.4"
    assert difference(graph, options, example(name, 3, seed=1)) <= 1e-5


@pytest.mark.slow
@settings(max_examples=200)
@given(blocks, st.sampled_from(PARTS), st.integers(0, 2**20))
def test_random_networks(drawn, parts, seed):
    graph = build(drawn, seed)
    x = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    assert difference(graph, f"constants=exact,parts={parts}", x) <= 1e-5


@settings(max_examples=30)
@given(blocks, st.integers(0, 2**20))
def test_nothing_is_lost_when_channels_are_constant(drawn, seed):
    """With weights of zero a channel is a constant; then pruning does not change the network."""
    graph = build([block for block in drawn if block[0] not in ("group-norm", "product")], seed)
    (instance,) = parse("prune-channels{constants=exact}")
    kept, _ = instance.choose(instance.rank(graph, Context()), Context())
    for entry in kept.labels.slices:
        if entry.produces:
            gone = torch.from_numpy((~kept.of(entry.labels)).nonzero()[0])
            weight = graph.parameter(entry.parameter).index_fill(entry.axis, gone, 0.0)
            graph.set_parameter(entry.parameter, weight)
    pruned = hwopt.apply(graph, instance)
    x = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    before, after = (g.to_torch().double().eval()(x.double()) for g in (graph, pruned))
    assert max_difference(after, before) <= 1e-5 * max(1.0, before.abs().max().item())
