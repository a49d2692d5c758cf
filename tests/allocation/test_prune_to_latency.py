from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import hwopt
from hwopt import targets
from hwopt.compiler.graph_latency import GraphLatency
from hwopt.errors import HwoptError
from hwopt.passes import Context


@pytest.fixture(scope="module")
def graph():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 128, 3), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 4))
    return hwopt.import_model(model, torch.randn(1, 3, 32, 32))


@pytest.fixture(scope="module")
def latency(tmp_path_factory):
    memory = tmp_path_factory.mktemp("latency") / "latencies.json"
    return GraphLatency(targets.get("host"), kernel_trials=0, memory=memory)


@pytest.mark.alone
@pytest.mark.slow
def test_the_share_is_reached_as_measured_on_the_target(graph, latency):
    context = Context(latency=latency, debug=True)
    pruned = hwopt.apply(graph, "prune-to-latency{share=0.8,criterion=l2,widths=4}", context)
    note = str(context.notes[-1][1])
    assert note.startswith("changed all groups: 0.") and "of the latency before" in note
    measured = float(note.split()[3])
    assert measured <= 0.8
    assert pruned.macs() < graph.macs()
    dense, small = latency([graph, pruned])
    assert small / dense == pytest.approx(measured, abs=1e-3)


@pytest.mark.parametrize("share", [0.9, 0.6, 0.3])
def test_a_prediction_that_is_off_is_corrected(graph, share):
    """An eighth of the time does not depend on widths, which products of shares cannot know."""
    fixed = graph.macs() / 8
    context = Context(latency=lambda graphs: [fixed + one.macs() for one in graphs])
    text = f"prune-to-latency{{share={share},criterion=l2}}"
    pruned = hwopt.apply(graph, text, context)
    reached = (fixed + pruned.macs()) / (fixed + graph.macs())
    assert share - 0.1 <= reached <= share
    assert f"{reached:.3f} of the latency before" in str(context.notes[-1][1])


@pytest.mark.alone
@pytest.mark.slow
def test_pairs_of_structures_are_measured_once(graph, latency):
    first = latency([graph, hwopt.apply(graph, "prune-channels{ratio=0.25}")])
    known = json.loads(latency.memory.read_text())
    again = GraphLatency(targets.get("host"), kernel_trials=0, memory=latency.memory)
    # Other weights, the same structure.
    other = hwopt.apply(graph, "prune-channels{ratio=0.25,criterion=random}")
    assert again([graph, other]) == pytest.approx(first)
    assert json.loads(latency.memory.read_text()) == known
    # The number of values in a codebook may change the kernel.
    keys = set()
    for bits in (8, 4):
        again([graph, hwopt.apply(graph, f"share-codebook{{bits={bits},steps=1}}")])
        keys.add(frozenset(json.loads(latency.memory.read_text())))
    assert len(keys) == 2


def test_what_cannot_be_is_said_in_one_sentence(graph):
    with pytest.raises(HwoptError, match="needs measured latency"):
        hwopt.apply(graph, "prune-to-latency{criterion=l2}")
    for options, message in (
        ("share=1.0", r"share must be in \(0, 1\)"),
        ("widths=1", "widths must be at least 2"),
        ("minimum=0", "minimum must be at least 1"),
    ):
        with pytest.raises(HwoptError, match=message):
            hwopt.apply(graph, f"prune-to-latency{{{options}}}")

    def always_the_same(graphs):
        return [1.0 for _ in graphs]

    context = Context(latency=always_the_same)
    with pytest.raises(HwoptError, match="was not reached"):
        hwopt.apply(graph, "prune-to-latency{share=0.5,criterion=l2}", context)
    linear = hwopt.import_model(nn.Linear(4, 3), torch.zeros(1, 4))
    with pytest.raises(HwoptError, match="no channels can be pruned"):
        hwopt.apply(linear, "prune-to-latency{share=0.5,criterion=l2}", context)


def test_choices_may_be_faster_than_predicted(graph):
    """Every group by itself saves a twentieth; the product of that is far above what all save."""

    def measured(graphs):
        shares = [one.macs() / graph.macs() for one in graphs]
        return [1.0 if share == 1 else 0.95 if share > 0.6 else 0.2 for share in shares]

    context = Context(latency=measured)
    pruned = hwopt.apply(graph, "prune-to-latency{share=0.3,criterion=l2}", context)
    assert measured([pruned]) == [0.2]


def test_one_width_far_below_the_share_ends_the_search(graph):
    """All choices but two are alike: none, and one that is much faster than it has to be."""

    def latency(graphs):
        return [1.0 if one.macs() == graph.macs() else 0.7 for one in graphs]

    context = Context(latency=latency)
    pruned = hwopt.apply(graph, "prune-to-latency{share=0.8,criterion=l2,widths=2}", context)
    assert pruned.macs() < graph.macs()
