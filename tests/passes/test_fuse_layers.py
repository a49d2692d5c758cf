"""The checks of the card on layer fusion."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from hwopt.graph import Graph
from hwopt.passes import Context
from hwopt.passes.similarity import MEASURES
from tests.networks import max_difference


class Deep(nn.Module):
    """A stem, equal blocks, a head."""

    def __init__(self, blocks=6, width=8):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
            for _ in range(blocks)
        )
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean((2, 3)))


X = (3, 8, 8)


@pytest.fixture
def graph():
    torch.manual_seed(0)
    return hwopt.import_model(Deep(), torch.randn(1, *X))


def weights(graph):
    return {n.parameter("weight") for n in graph.nodes("conv2d")} - {"stem.weight"}


@pytest.mark.parametrize(("ratio", "fused"), [(0.17, 1), (0.5, 3), (0.83, 5)])
def test_the_number_of_weights_is_as_asked(graph, ratio, fused):
    result = hwopt.apply(graph, f"fuse-layers{{ratio={ratio}}}", Context(debug=True))
    assert len(weights(result)) == 6 - fused
    assert result.num_parameters() == graph.num_parameters() - fused * (8 * 8 * 9 + 8)
    assert result.macs() == graph.macs()


def test_steps_add_up(graph):
    """What shares already counts, so that rounds reach the same number as one step."""
    result = graph
    for ratio in (0.17, 0.34, 0.5):
        result = hwopt.apply(result, f"fuse-layers{{ratio={ratio}}}")
    assert len(weights(result)) == 3
    assert hwopt.apply(result, "fuse-layers{ratio=0.5}") is result


def test_the_most_alike_are_fused_first_and_chains_share_one_weight(graph):
    like = graph.parameter("blocks.1.0.weight")
    for name, noise in (("blocks.3.0.weight", 0.01), ("blocks.4.0.weight", 0.02)):
        graph.set_parameter(name, like + noise * torch.randn_like(like))
    context = Context()
    result = hwopt.apply(graph, "fuse-layers{ratio=0.34}", context)
    names = {result.node(f"blocks.{i}.0").parameter("weight") for i in (1, 3, 4)}
    assert names == {"blocks.1.0.weight"}
    assert "blocks.1.0.weight + blocks.3.0.weight + blocks.4.0.weight" in str(context.notes[0][1])


@pytest.mark.parametrize("fusion", ["mean", "mix", "freeze"])
def test_fusing_equal_layers_changes_nothing(graph, fusion):
    for role in ("weight", "bias"):
        graph.set_parameter(f"blocks.2.0.{role}", graph.parameter(f"blocks.0.0.{role}").clone())
    result = hwopt.apply(graph, f"fuse-layers{{ratio=0.17,fusion={fusion}}}")
    x = torch.randn(2, *X)
    got, expected = (g.to_torch().eval()(x) for g in (result, graph))
    assert max_difference(got, expected) <= 1e-6


def test_the_gradient_of_a_shared_weight_is_the_sum(graph):
    result = hwopt.apply(graph, "fuse-layers{ratio=0.83}")
    module, x = result.to_torch().eval(), torch.randn(2, *X)
    module(x).square().sum().backward()
    (name,) = weights(result)
    apart = result.copy()
    for i in range(6):
        apart.set_parameter(f"own{i}", result.parameter(name))
        node = apart.node(f"blocks.{i}.0")
        apart.replace_node(node.with_operands(weight=hwopt.graph.Parameter(f"own{i}")))
    separate = apart.to_torch().eval()
    separate(x).square().sum().backward()
    total = sum(separate.get_parameter(f"own{i}").grad for i in range(6))
    assert torch.allclose(module.get_parameter(name).grad, total, atol=1e-4)


def test_a_mean_of_unlike_layers_keeps_the_norm_if_asked(graph):
    plain = hwopt.apply(graph, "fuse-layers{ratio=0.83,rescale=false}")
    scaled = hwopt.apply(graph, "fuse-layers{ratio=0.83}")
    mixed = hwopt.apply(graph, "fuse-layers{ratio=0.83,fusion=mix}")
    before = torch.stack([graph.parameter(n).norm() for n in weights(graph)]).mean()
    (norm,), (kept,), (mix,) = (
        [g.parameter(n).norm() / before for n in weights(g)] for g in (plain, scaled, mixed)
    )
    assert norm == pytest.approx(6**-0.5, abs=0.06)
    assert kept == pytest.approx(1, abs=1e-5)
    assert mix == pytest.approx(1, abs=0.06)


@pytest.mark.slow
def test_files_and_libraries_hold_a_shared_weight_once(graph, tmp_path):
    torch.manual_seed(0)
    wide = hwopt.import_model(Deep(blocks=6, width=32), torch.randn(1, *X))
    shared = hwopt.apply(wide, "fuse-layers{ratio=0.83}")
    sizes = {}
    for name, graph in (("apart", wide), ("shared", shared)):
        graph.save(tmp_path / name)
        artifact = hwopt.compile(graph, kernel_trials=0, output=tmp_path / f"{name}.artifact")
        x = torch.randn(1, *X)
        assert max_difference(artifact(x), graph.to_torch().eval()(x)) <= 1e-4
        folders = (tmp_path / name / "weights.safetensors", artifact.path / "constants.bin")
        sizes[name] = [path.stat().st_size for path in folders]
    # Of six equal blocks one is left; the library holds weights as its kernels read them.
    for apart, one in zip(sizes["apart"], sizes["shared"], strict=True):
        assert one == pytest.approx(apart / 6, rel=0.25)
    loaded = Graph.load(tmp_path / "shared")
    assert loaded.num_parameters() == shared.num_parameters()


def test_a_reader_without_bias_of_a_fused_weight_gets_none():
    class Reused(Deep):
        def forward(self, x):
            x = torch.relu(self.stem(x))
            x = self.blocks[0](x) + torch.conv2d(x, self.blocks[1][0].weight, padding=1)
            return self.head(self.blocks[1](x).mean((2, 3)))

    graph = hwopt.import_model(Reused(), torch.randn(1, *X))
    fused = hwopt.apply(graph, "fuse-layers{ratio=0.9}")
    (shared,) = weights(fused)
    readers = [n for n in fused.nodes("conv2d") if n.parameter("weight") == shared]
    assert [n.parameter("bias") is None for n in readers] == [False, True, False]


def test_a_mask_that_only_some_have_is_gone_and_said(graph):
    name = sorted(weights(graph))[0]
    graph.set_mask(name, torch.rand_like(graph.parameter(name)) > 0.5)
    context = Context()
    fused = hwopt.apply(graph, "fuse-layers{ratio=0.9}", context)
    assert not fused.masks
    assert "without a mask: 5 of them had none" in str(context.notes)


@pytest.mark.parametrize("name", MEASURES)
def test_measures_are_symmetric_and_one_for_equal_weights(name):
    torch.manual_seed(0)
    first, second = torch.randn(2, 20, 12)
    measure = MEASURES[name]
    assert measure(first, first) == pytest.approx(1, abs=1e-6)
    assert measure(first, second) == pytest.approx(measure(second, first), abs=1e-6)
    assert 0 <= measure(first, second) < 1


def test_what_measures_do_not_see():
    torch.manual_seed(0)
    weight = torch.randn(200, 40)
    permuted = weight[torch.randperm(200)]
    rotation = torch.linalg.qr(torch.randn(40, 40)).Q
    assert MEASURES["covariance"](weight, permuted) == pytest.approx(1, abs=1e-6)
    assert MEASURES["wasserstein"](weight, permuted) == pytest.approx(1, abs=1e-6)
    assert MEASURES["cosine"](weight, permuted) < 0.6
    assert MEASURES["cka"](weight, weight @ rotation) == pytest.approx(1, abs=1e-4)
    for name in ("covariance", "cka"):
        assert MEASURES[name](weight, 3 * weight) == pytest.approx(1, abs=1e-6)
    assert MEASURES["euclidean"](weight, 3 * weight) < 0.6


def test_bad_input(graph):
    with pytest.raises(HwoptError, match=r"ratio must be in \[0, 1\)"):
        hwopt.apply(graph, "fuse-layers{ratio=1.0}")
    context = Context()
    assert hwopt.apply(graph, "fuse-layers{layers=[nothing]}", context) is graph
    assert "no two layers are alike" in str(context.notes[0][1])
