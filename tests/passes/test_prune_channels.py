from __future__ import annotations

import pytest
import torch
from torch import nn

import hwopt
from hwopt.passes import Context
from tests.networks import (
    IMAGE,
    IMAGE_NETWORKS,
    Attention,
    Concat,
    Depthwise,
    Grouped,
    Residual,
    make,
    max_difference,
    randomize,
)


def channels(graph, name):
    return graph.parameter(f"{name}.weight").shape[0]


@pytest.mark.slow
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


@pytest.mark.parametrize("bias", [True, False])
def test_beside_a_grouped_transposed_convolution(bias):
    """Its channels stay; they are more than its weight has in one group."""
    up = nn.ConvTranspose2d(8, 4, 3, groups=2, bias=bias)
    first, last = nn.Conv2d(3, 8, 3), nn.Conv2d(4, 6, 3)
    layers = [first, nn.ReLU(), nn.Conv2d(8, 8, 1), up, nn.BatchNorm2d(4), last, nn.Conv2d(6, 2, 1)]
    graph = hwopt.import_model(randomize(nn.Sequential(*layers)).eval(), torch.randn(1, *IMAGE))
    pruned = hwopt.apply(graph, "prune-channels{ratio=0.5,constants=exact}", Context(debug=True))
    assert channels(pruned, "0") == 4 and pruned.parameter("3.weight").shape == (8, 2, 3, 3)
    for name in ("0", "5"):  # of which half was removed: zeros there remove nothing else
        weight = graph.parameter(f"{name}.weight").clone()
        weight[::2] = 0
        graph.set_parameter(f"{name}.weight", weight)
    condensed, x = hwopt.apply(graph, "condense"), torch.randn(2, *IMAGE)
    assert condensed.macs() < graph.macs()
    assert max_difference(condensed.to_torch().eval()(x), graph.to_torch().eval()(x)) < 1e-4


@pytest.mark.parametrize("kind", ["batch", "group", "layer"])
def test_a_norm_whose_weights_are_computed_keeps_its_channels(kind):
    class Computed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
            self.weight = nn.Parameter(torch.ones(8))
            self.register_buffer("statistics", torch.ones(8))

        def forward(self, x):
            x, weight = self.first(x), self.weight.exp()
            f = nn.functional
            if kind == "batch":
                x = f.batch_norm(x, self.statistics, self.statistics, weight, weight)
            elif kind == "group":
                x = f.group_norm(x, 2, weight, weight)
            else:
                x = f.layer_norm(x.movedim(1, -1), (8,), weight, weight).movedim(-1, 1)
            return self.last(x)

    graph = hwopt.import_model(Computed(), torch.randn(2, *IMAGE))
    context = Context()
    assert hwopt.apply(graph, "prune-channels{ratio=0.5}", context).macs() == graph.macs()
    assert any("is computed" in note.message for _, note in context.notes)


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
    kept: dict[str, str] = {}
    for _, note in context.notes:
        if not note.changed:
            kept.setdefault(note.node, note.message)
    assert not {"a", "c", "fc.0"} & set(kept)
    assert "roll" in kept["b"]
    assert "output of the model" in kept["fc.2"]


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
    [
        ("ratio=0.3", 6),
        ("ratio=0.3,multiple=4", 8),
        ("ratio=0.9,minimum=3", 3),
        ("ratio=0.0", 8),
        ("ratio=0.9,multiple=0", 4),
        ("ratios=[0:0.75]", 2),
        ("ratios=[0:0.75,0.weight:0.25,2:0.5]", 6),
    ],
)
def test_how_many_channels_stay(options, kept):
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    graph = hwopt.import_model(model, torch.randn(1, *IMAGE))
    context = Context(vector_length=4)
    assert channels(hwopt.apply(graph, f"prune-channels{{{options}}}", context), "0") == kept


def test_only_the_named_layers():
    graph = hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))
    pruned = hwopt.apply(graph, "prune-channels{layers=[conv1]}")
    assert (channels(pruned, "stem"), channels(pruned, "conv1")) == (8, 4)
    context = Context()
    assert hwopt.apply(graph, "prune-channels{layers=[nothing,like.this]}", context) is graph
    assert [str(note) for _, note in context.notes] == [
        "kept nothing: no layer has such a name",
        "kept like.this: no layer has such a name",
    ]
    (instance,) = hwopt.passes.parse("prune-channels{layers=[nothing,like.this]}")
    assert hwopt.passes.parse(str(instance)) == [instance]


def test_the_parts_of_a_split_are_narrowed_alike_or_removed_whole():
    graph = hwopt.import_model(make(Grouped), torch.randn(1, *IMAGE))
    narrow = hwopt.apply(graph, "prune-channels{layers=[a,grouped]}")
    assert narrow.parameter("grouped.weight").shape == (4, 2, 3, 3)
    assert narrow.node("grouped").attributes["groups"] == 2
    whole = hwopt.apply(graph, "prune-channels{layers=[a,grouped],parts=whole}")
    assert whole.parameter("grouped.weight").shape == (4, 4, 3, 3)
    assert whole.node("grouped").attributes["groups"] == 1


def test_attention_keeps_the_scale_of_its_full_width():
    graph = hwopt.import_model(make(Attention), torch.randn(1, *IMAGE))
    name = "layer.self_attn.scaled_dot_product_attention"
    narrow = hwopt.apply(graph, "prune-channels{layers=[layer.self_attn.in_proj_weight]}")
    assert narrow.node(name).output.at() == (1, 2, 5, 4)
    assert narrow.node(name).attributes["scale"] == pytest.approx(8**-0.5)
    text = "prune-channels{layers=[layer.self_attn.in_proj_weight],parts=whole}"
    assert hwopt.apply(graph, text).node(name).output.at() == (1, 1, 5, 8)


def test_the_last_channels_of_a_split_stay():
    """The half of the channels that one branch reads must not be empty."""

    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(3, 8, 1)
            self.b, self.c = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
            with torch.no_grad():
                self.a.weight[4:] *= 0.01

        def forward(self, x):
            first, second = self.a(x).chunk(2, 1)
            return self.c(first) + self.b(second)

    graph = hwopt.import_model(Halves(), torch.randn(1, *IMAGE))
    pruned = hwopt.apply(graph, "prune-channels{ratio=0.5,layers=[a]}")
    assert pruned.parameter("b.weight").shape == (4, 1, 1, 1)
    assert pruned.parameter("c.weight").shape == (4, 4, 1, 1)


def test_a_shared_weight_is_cut_once_and_a_partly_shared_one_not_at_all():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(20, 8)
            self.hidden = nn.Linear(8, 8)
            self.scale = nn.Parameter(torch.randn(8))

        def forward(self, tokens):
            x = self.embedding(tokens).mean(1) * self.scale
            x = x + self.hidden(torch.relu(self.hidden(x)))
            return nn.functional.linear(x, self.embedding.weight)

    graph = hwopt.import_model(Shared(), torch.randint(0, 20, (1, 4)))
    pruned = hwopt.apply(graph, "prune-channels")
    assert pruned.parameter("embedding.weight").shape == (20, 4)
    assert pruned.parameter("hidden.weight").shape == (4, 4)
    assert pruned.to_torch()(torch.randint(0, 20, (3, 4))).shape == (3, 20)
