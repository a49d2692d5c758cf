"""``substitute-spatial-interpolation``: anchors are what the heavy path makes of fewer pixels."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import hwopt
from hwopt import models
from hwopt.errors import HwoptError
from hwopt.layers import SpatialInterpolation
from hwopt.passes import Context
from tests.networks import max_difference

PASS = "substitute-spatial-interpolation"


class Block(nn.Module):
    def __init__(self, channels=6):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def path(self, x):
        return self.conv2(torch.relu(self.conv1(x)))

    def forward(self, x):
        return x + self.path(x)


@pytest.fixture
def block():
    torch.manual_seed(0)
    return Block().eval()


def substituted(graph, options=""):
    context = Context()
    result = hwopt.apply(graph, PASS + options, context)
    return result, {note.node: note for _, note in context.notes}


def with_weight(graph, share):
    """Let all channels take so much of the cheap pixels."""
    (mix,) = (name for name in graph.parameters if name.endswith("mix"))
    graph.set_parameter(mix, torch.full_like(graph.parameter(mix), share).logit())
    return graph


def network(graph):
    """Return the graph's module with norms as they were trained, not as they are at first."""
    return graph.to_torch().eval()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (5, 4)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_anchors_are_what_the_path_makes_of_the_sampled_input(block, size, share):
    x = torch.randn(2, 6, *size)
    graph, _ = substituted(hwopt.import_model(block, x), "{mode=lowres,stride=2}")
    result = network(with_weight(graph, share))(x)
    at = (..., slice(None, None, 2), slice(None, None, 2))
    assert torch.allclose(result[at], x[at] + block.path(x[at]), atol=1e-6)


def test_strided_anchors_are_those_of_the_dense_convolution():
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 6, 3, padding=1)

    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = conv

        def forward(self, x):
            return x + self.conv(x)

    x = torch.randn(2, 6, 9, 8)
    graph, _ = substituted(hwopt.import_model(Single(), x), "{mode=strided}")
    at = (..., slice(None, None, 2), slice(None, None, 2))
    assert torch.allclose(network(graph)(x)[at], (x + conv(x))[at], atol=1e-6)


def test_between_anchors_stand_cheap_pixels_if_the_weight_is_one(block):
    x = torch.randn(2, 6, 8, 8)
    graph = with_weight(substituted(hwopt.import_model(block, x))[0], 1.0)
    kernel = graph.parameter("between.conv.weight")
    cheap = functional.conv2d(x, kernel, padding=1, groups=6) / (1 + 1e-5) ** 0.5
    result = network(graph)(x)
    elsewhere = torch.ones(8, 8, dtype=torch.bool)
    elsewhere[::2, ::2] = False
    assert torch.allclose(result[..., elsewhere], (x + cheap)[..., elsewhere], atol=1e-6)


@pytest.mark.parametrize(("size", "anchors"), [((8, 8), 16), ((7, 7), 16), ((9, 6), 15)])
def test_counted_macs_are_those_of_the_formula(block, size, anchors):
    graph = hwopt.import_model(block, torch.zeros(1, 6, *size))
    pixels = size[0] * size[1]
    heavy = 2 * 6 * 6 * 9
    assert graph.macs() == pixels * heavy
    expected = anchors * heavy + pixels * 6 * (9 + 4)
    for mode in ("lowres", "strided"):
        assert substituted(graph, f"{{mode={mode}}}")[0].macs() == expected


def test_the_module_of_stride_one_is_the_residual_block(block):
    torch.manual_seed(0)
    heavy = nn.Conv2d(6, 6, 3, padding=1)
    module = SpatialInterpolation(heavy, 6, stride=1)
    x = torch.randn(2, 6, 7, 5)
    assert torch.equal(module(x), x + heavy(x))


def test_the_pass_makes_what_the_module_is(block):
    x = torch.randn(2, 6, 7, 9)
    graph, _ = substituted(hwopt.import_model(block, x), "{mode=lowres}")

    class Path(nn.Module):
        def forward(self, x):
            return block.path(x)

    module = SpatialInterpolation(Path(), 6).eval()
    module.between.conv.weight.data = graph.parameter("between.conv.weight")
    assert torch.allclose(network(graph)(x), module(x), atol=1e-6)


def test_golden_text_of_a_block(golden):
    model = models.create("resnet20", input_shape=(1, 12, 12), width=4)
    graph = hwopt.import_model(model, torch.zeros(1, 1, 12, 12))
    texts = []
    for mode in ("lowres", "strided"):
        result, _ = substituted(graph, f"{{layers=[stages.0.1],mode={mode}}}")
        lines = result.to_text().splitlines()
        texts += [line for line in lines if line.startswith("  stages.0.1")]
    golden("substitute_spatial_interpolation.txt", "\n".join(texts) + "\n")


@pytest.mark.slow
def test_what_stays_is_said_with_its_reason():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x):
            return x + self.conv(x).reshape(-1, 2, 64).relu().reshape(-1, 2, 8, 8)

    graph = hwopt.import_model(Fixed(), torch.zeros(1, 2, 8, 8))
    result, notes = substituted(graph)
    assert result is graph
    assert [note.message for note in notes.values()] == ["its layers fix the size of the image"]
    resnet = hwopt.import_model(models.create("resnet20"), torch.zeros(1, 3, 32, 32))
    _, notes = substituted(resnet, "{exclude=[stages.0.2]}")
    assert "shortcut" in notes["stages.1.0"].message
    assert notes["stages.0.2"].message == "not among those chosen"
    _, notes = substituted(resnet, "{stride=16}")
    assert "8x8 pixels is too small" in notes["stages.2.1"].message
    _, notes = substituted(substituted(resnet)[0])
    assert "anchors already" in notes["stages.0.0"].message


def test_a_path_without_a_convolution_at_its_beginning_needs_the_other_mode():
    class PreActivation(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.conv = nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x):
            return x + self.conv(torch.relu(self.norm(x)))

    graph = hwopt.import_model(PreActivation(), torch.zeros(1, 2, 8, 8))
    result, notes = substituted(graph, "{mode=strided}")
    assert result is graph
    assert "begins with batch_norm" in next(iter(notes.values())).message
    assert substituted(graph)[0].macs() < graph.macs()


@pytest.mark.slow
def test_candidates_are_the_blocks():
    model = models.create("resnet20", input_shape=(1, 12, 12), width=4)
    graph = hwopt.import_model(model, torch.zeros(1, 1, 12, 12))
    (instance,) = hwopt.passes.parse(PASS)
    candidates = instance.candidates(graph, Context())
    assert len(candidates) == 7
    assert len(hwopt.apply(graph, candidates[3]).nodes("interpolate_anchors")) == 1


def test_bad_option(block):
    with pytest.raises(HwoptError, match="stride must be at least 2, not 1"):
        substituted(hwopt.import_model(block, torch.zeros(1, 6, 8, 8)), "{stride=1}")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["lowres", "strided"])
def test_trains_saves_prunes_and_compiles(mode, tmp_path):
    torch.manual_seed(0)
    model = models.create("resnet20", input_shape=(1, 13, 12), width=4, blocks=2)
    graph, _ = substituted(hwopt.import_model(model, torch.zeros(1, 1, 13, 12)), f"{{mode={mode}}}")
    module = graph.to_torch()
    x = torch.randn(8, 1, 13, 12)
    module(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    graph.save(tmp_path / "saved")
    loaded = hwopt.Graph.load(tmp_path / "saved")
    pruned = hwopt.apply(loaded, "prune-channels{ratio=0.5}")
    assert pruned.num_parameters() < 0.4 * graph.num_parameters()
    for variant in (loaded, pruned):
        artifact = hwopt.compile(variant, kernel_trials=0)
        assert max_difference(artifact(x[:1]), variant.to_torch().eval()(x[:1])) <= 1e-4


def test_blocks_in_blocks_have_anchors_with_them():
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.inner, self.last = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

        def forward(self, x):
            y = self.first(x)
            return x + self.last(y + self.inner(y))

    graph = hwopt.import_model(Around(), torch.zeros(1, 4, 6, 6))
    context = Context()
    result = hwopt.apply(graph, PASS, context)
    assert len(result.nodes("interpolate_anchors")) == 1
    assert [str(note) for _, note in context.notes] == [
        "kept add: inside add_1, which has anchors",
        "changed add_1: 4 operators on one pixel of 4",
    ]


def test_sampled_pixels_are_read_from_lists_too():
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(8, 4, 1)

        def forward(self, x):
            return x + self.last(torch.cat([x, self.first(x)], 1))

    graph = hwopt.import_model(Beside(), torch.zeros(1, 4, 6, 6))
    result = hwopt.apply(graph, f"{PASS}{{mode=lowres}}")
    assert result.nodes("interpolate_anchors")
    assert result.node("first").output.shape[2:] == (3, 3)
