from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import hwopt
from hwopt.passes import Context
from hwopt.passes.channel_rules import label_channels
from hwopt.passes.channels import groups
from tests.networks import (
    IMAGE,
    IMAGE_NETWORKS,
    Concat,
    Depthwise,
    Grouped,
    Residual,
    SqueezeExcite,
    make,
    max_difference,
)


def channels(graph, name):
    return graph.parameter(f"{name}.weight").shape[0]


@pytest.mark.parametrize("network", IMAGE_NETWORKS)
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.9])
def test_pruned_networks_run_train_and_fold(network, ratio):
    graph = hwopt.import_model(make(network), torch.randn(1, *IMAGE))
    pruned = hwopt.apply(graph, f"prune-channels{{ratio={ratio}}}", Context(debug=True))
    module = pruned.to_torch()
    module(torch.randn(3, *IMAGE)).sum().backward()
    assert pruned.macs() < graph.macs() and pruned.num_parameters() < graph.num_parameters()
    folded = hwopt.apply(pruned, "fold-batch-norm", Context(debug=True))
    x = torch.randn(3, *IMAGE)
    assert max_difference(folded.to_torch().eval()(x), pruned.to_torch().eval()(x)) < 1e-4


def test_a_residual_sum_ties_its_branches():
    graph = hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))
    pruned = hwopt.apply(graph, "prune-channels{ratio=0.5}")
    assert channels(pruned, "stem") == channels(pruned, "conv2") == channels(pruned, "conv1") == 4
    assert pruned.parameter("fc.weight").shape == (4, 4)


def test_concat_flatten_and_depthwise():
    graph = hwopt.import_model(make(Concat), torch.randn(1, *IMAGE))
    pruned = hwopt.apply(graph, "prune-channels{ratio=0.5}")
    assert pruned.parameter("c.weight").shape[:2] == (2, 3 + 3)
    assert pruned.parameter("fc.weight").shape == (5, 2 * 16)
    graph = hwopt.import_model(make(Depthwise), torch.randn(1, *IMAGE))
    pruned = hwopt.apply(graph, "prune-channels{ratio=0.5}")
    assert pruned.node("depth").attributes["groups"] == 4
    assert pruned.parameter("depth.weight").shape[0] == 8
    assert pruned.parameter("scale").shape == (8, 1, 1)


def test_what_cannot_be_pruned_is_listed_with_the_reason():
    graph = hwopt.import_model(make(Grouped), torch.randn(1, *IMAGE))
    context = Context()
    hwopt.apply(graph, "prune-channels", context)
    kept = {note.node: note.message for _, note in context.notes if not note.changed}
    assert "grouped convolution" in kept["a"]
    assert "roll" in kept["b"]
    assert "output of the model" in kept["fc.2"]


def masked(graph, pruned_name="prune-channels{ratio=0.5}"):
    """Return the graph with every slice that pruning removes set to zero instead."""
    labels = label_channels(graph)
    classes, pinned = labels.classes()
    instance = hwopt.passes.parse(pruned_name)[0]
    scores = instance._scores(graph, labels, classes)
    removed = set()
    for group in groups(labels.slices, classes):
        free = [c for c in group.classes if c not in pinned]
        keep = instance._channels_to_keep(len(free)) if free else 0
        removed.update(sorted(free, key=lambda c: scores[c])[: len(free) - keep])
    result = graph.copy()
    for entry in labels.slices:
        gone = [i for i, label in enumerate(entry.labels) if classes[label] in removed]
        tensor = result.parameter(entry.parameter).clone()
        tensor.index_fill_(entry.axis, torch.tensor(gone, dtype=torch.long), 0.0)
        result.set_parameter(entry.parameter, tensor)
    return result


@pytest.mark.parametrize("network", [Residual, Concat, Depthwise, SqueezeExcite, Grouped])
def test_pruned_equals_masked(network):
    """Removing channels is the same as zeroing every slice that belongs to them."""
    graph = hwopt.import_model(make(network), torch.randn(1, *IMAGE))
    pruned = hwopt.apply(graph, "prune-channels{ratio=0.5}")
    x = torch.randn(3, *IMAGE)
    expected = masked(graph).to_torch().eval()(x)
    assert max_difference(pruned.to_torch().eval()(x), expected) <= 1e-5


class RandomNetwork(nn.Module):
    """A chain of blocks drawn at random: plain, residual, dense, depthwise."""

    def __init__(self, kinds, width):
        super().__init__()
        self.kinds = kinds
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.layers = nn.ModuleList()
        for kind in kinds:
            out = width + 3 if kind == "plain" else width
            grouped = width if kind == "depthwise" else 1
            self.layers.append(nn.Conv2d(width, out, 3, padding=1, groups=grouped))
            width = {"plain": out, "dense": 2 * width}.get(kind, width)
        self.fc = nn.Linear(width * 4, 3)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        for kind, layer in zip(self.kinds, self.layers, strict=True):
            y = torch.relu(layer(x))
            x = {
                "residual": lambda x=x, y=y: x + y,
                "dense": lambda x=x, y=y: torch.cat([y, x], 1),
            }.get(kind, lambda y=y: y)()
        return self.fc(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))


@settings(max_examples=15)
@given(
    st.lists(st.sampled_from(["plain", "residual", "dense", "depthwise"]), min_size=1, max_size=4),
    st.integers(2, 6),
)
def test_pruned_equals_masked_on_random_networks(kinds, width):
    torch.manual_seed(0)
    graph = hwopt.import_model(RandomNetwork(kinds, width).eval(), torch.randn(1, *IMAGE))
    pruned = hwopt.apply(graph, "prune-channels{ratio=0.5}")
    x = torch.randn(2, *IMAGE)
    expected = masked(graph).to_torch().eval()(x)
    assert max_difference(pruned.to_torch().eval()(x), expected) <= 1e-5


def test_the_weakest_channels_go():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        model[0].weight[1] *= 100
        model[0].weight[3] *= 100
    graph = hwopt.import_model(model, torch.randn(1, *IMAGE))
    for criterion in ("l1", "l2"):
        pruned = hwopt.apply(graph, f"prune-channels{{criterion={criterion}}}")
        assert torch.equal(pruned.parameter("0.weight"), model[0].weight[[1, 3]].detach())


@pytest.mark.parametrize(
    ("options", "kept"),
    [("ratio=0.3", 6), ("ratio=0.3,multiple=4", 8), ("ratio=0.9,minimum=3", 3), ("ratio=0.0", 8)],
)
def test_how_many_channels_stay(options, kept):
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    graph = hwopt.import_model(model, torch.randn(1, *IMAGE))
    assert channels(hwopt.apply(graph, f"prune-channels{{{options}}}"), "0") == kept


def test_only_the_named_layers():
    graph = hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))
    pruned = hwopt.apply(graph, "prune-channels{layers=[conv1]}")
    assert (channels(pruned, "stem"), channels(pruned, "conv1")) == (8, 4)
    context = Context()
    assert hwopt.apply(graph, "prune-channels{layers=[nothing,like.this]}", context) is graph
    assert str(context.notes[0][1]) == "kept nothing,like.this: no layer has such a name"
    (instance,) = hwopt.passes.parse("prune-channels{layers=[nothing,like.this]}")
    assert hwopt.passes.parse(str(instance)) == [instance]
