"""Structures that a review found to go wrong."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import hwopt
from hwopt.graph import Graph
from hwopt.passes import Context
from hwopt.train.distillation import SelfDistillation
from tests.networks import max_difference


class Call(nn.Module):
    """Layers, and a function of them and the input."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.function(self, x)


def half_dead(graph, seed=0):
    """Set every other row of every weight to zero."""
    graph = graph.copy()
    for name, tensor in graph.parameters.items():
        if tensor.dim() > 1 and tensor.shape[0] > 1:
            rows = torch.arange(1, tensor.shape[0], 2)
            graph.set_parameter(name, tensor.index_fill(0, rows, 0.0))
    return graph


NETWORKS = {
    "one output a group": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1, groups=4), nn.Flatten(2)),
        (3, 4, 4),
    ),
    "a product of two values": (
        lambda: Call(
            lambda m, x: m.u(x).unsqueeze(1) @ m.v(x).unsqueeze(2),
            u=nn.Linear(6, 8),
            v=nn.Linear(6, 8),
        ),
        (6,),
    ),
    "a computed weight": (
        lambda: Call(
            lambda m, x: m.b(functional.linear(m.a(x), m.a.weight / m.a.weight.norm())),
            a=nn.Linear(6, 6),
            b=nn.Linear(6, 3),
        ),
        (6,),
    ),
    "a computed bias": (
        lambda: Call(
            lambda m, x: m.b(functional.linear(x, m.a.weight, m.a.bias * 2)),
            a=nn.Linear(6, 8),
            b=nn.Linear(8, 3),
        ),
        (6,),
    ),
    "a squeeze of everything": (
        lambda: Call(
            lambda m, x: m.fc(functional.adaptive_avg_pool2d(m.conv(x), 1).squeeze()),
            conv=nn.Conv2d(3, 8, 3),
            fc=nn.Linear(8, 3),
        ),
        (3, 6, 6),
    ),
    "a norm over another dimension": (
        lambda: nn.Sequential(nn.Conv1d(3, 8, 3, padding=1), nn.LayerNorm(10), nn.Conv1d(8, 4, 3)),
        (3, 10),
    ),
    "frames in the batch": (
        lambda: Call(
            lambda m, x: (
                m.b(torch.relu(m.a(x.flatten(0, 1)))).unflatten(0, (-1, 4)).mean((1, 3, 4))
            ),
            a=nn.Conv2d(3, 8, 3),
            b=nn.Conv2d(8, 4, 3, padding=1),
        ),
        (4, 3, 8, 8),
    ),
    "cross attention": (
        lambda: Call(
            lambda m, x: m.layer(x, x * 2),
            layer=nn.TransformerDecoderLayer(16, 2, 24, batch_first=True),
        ),
        (5, 16),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_condense_keeps_the_function_and_pruned_networks_run(name):
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    graph = half_dead(hwopt.import_model(make().eval(), torch.randn(2, *shape)))
    batch = graph.spec(next(iter(graph.outputs.values()))).at(2)[0]
    x = torch.randn(2, *shape)
    small = hwopt.apply(graph, "condense", Context(debug=True))
    assert max_difference(small.to_torch().eval()(x), graph.to_torch().eval()(x)) <= 1e-4
    for options in ("ratio=0.4", "ratio=0.4,constants=exact", "ratio=0.4,parts=whole"):
        pruned = hwopt.apply(graph, f"prune-channels{{{options}}}", Context(debug=True))
        assert pruned.to_torch().eval()(x).shape[0] == batch


def test_constants_that_are_not_finite_are_not_carried():
    layers = Call(
        lambda m, x: m.b((m.a(x) ** 2).log()),
        a=nn.Conv2d(3, 8, 1, bias=False),
        b=nn.Conv2d(8, 4, 1),
    )
    graph = hwopt.import_model(layers, torch.randn(1, 3, 4, 4))
    pruned = hwopt.apply(graph, "prune-channels{layers=[a]}")
    assert pruned.to_torch()(torch.randn(2, 3, 4, 4)).isfinite().all()


def test_a_masked_bias_takes_the_shift_of_a_folded_norm():
    torch.manual_seed(0)
    layers = [nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)]
    nn.init.normal_(layers[1].bias)
    graph = hwopt.import_model(nn.Sequential(*layers).eval(), torch.randn(1, 6))
    hwopt.apply(graph, "prune-weights{ratio=0.6,biases=true},fold-batch-norm", Context(debug=True))


def test_the_last_linear_layer_is_the_last_of_the_graph():
    model = Call(
        lambda m, x: m.fc(m.block(x)),
        fc=nn.Linear(6, 3),
        block=nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6)),
    )
    graph = hwopt.import_model(model, torch.randn(1, 6))
    assert SelfDistillation(graph.to_torch()).layers == ["fc"]


def test_fixed_kernels_are_not_pruned():
    class Blur(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("kernel", torch.ones(3, 1, 2, 2) / 4)
            self.register_buffer("causal", torch.ones(4, 4, dtype=torch.bool))
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return torch.where(
                self.causal, self.conv(functional.conv2d(x, self.kernel, groups=3)), 0
            )

    graph = hwopt.import_model(Blur(), torch.randn(1, 3, 5, 5))
    for criterion in ("magnitude", "random"):
        pruned = hwopt.apply(graph, f"prune-weights{{criterion={criterion}}}")
        assert set(pruned.masks) == {"conv.weight"}


def test_a_codebook_ends_where_other_values_are_set(tmp_path):
    graph = hwopt.import_model(nn.Linear(40, 40), torch.randn(1, 40))
    text = "share-codebook{bits=4},enforce-isometry{steps=3}"
    changed = hwopt.apply(graph, text)
    assert not changed.codebooks
    changed.save(tmp_path)
    Graph.load(tmp_path)


def test_the_text_of_a_masked_graph_without_its_numbers_masks_nothing():
    graph = hwopt.apply(
        hwopt.import_model(nn.Linear(4, 4), torch.randn(1, 4)), "prune-weights{ratio=0.5}"
    )
    assert not Graph.from_text(graph.to_text()).masks
