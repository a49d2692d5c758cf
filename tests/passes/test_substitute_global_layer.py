"""``substitute-global-layer``: what goes, what stays and why; the result trains and runs."""

import pytest
import torch
from torch import nn

import hwopt
from hwopt import models
from hwopt.errors import HwoptError
from hwopt.passes import Context
from tests.networks import max_difference

PASS = "substitute-global-layer"


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    model = models.create("resnet20", input_shape=(1, 12, 12), width=4)
    return hwopt.import_model(model, torch.zeros(1, 1, 12, 12))


@pytest.fixture(scope="module")
def mobilenet():
    torch.manual_seed(0)
    options = {"width_multiplier": 0.5, "reduction": 8, "num_classes": 10}
    model = models.create("mobilenet_v2", input_shape=(1, 16, 16), **options)
    return hwopt.import_model(model, torch.zeros(1, 1, 16, 16))


def substituted(graph, options=""):
    context = Context()
    result = hwopt.apply(graph, PASS + options, context)
    return result, {note.node: note for _, note in context.notes}


def test_golden_text_of_a_stage(resnet, golden):
    result, _ = substituted(resnet, "{layers=[stages.1]}")
    lines = [line for line in result.to_text().splitlines() if "stages.1" in line]
    golden("substitute_global_layer.txt", "\n".join(lines) + "\n")


def test_the_first_block_of_every_stage_stays(resnet):
    result, notes = substituted(resnet)
    assert [n.name for n in result.nodes("advection_diffusion")] == [
        f"stages.{stage}.global_layer.advection_diffusion" for stage in range(3)
    ]
    assert "in the place of stages.0.1, stages.0.2" in notes["stages.0.global_layer"].message
    assert not notes["stages.0.0"].changed and "keep=1" in notes["stages.0.0"].message
    assert "shortcut" in notes["stages.1.0"].message
    # What was there before keeps its weights; what was replaced is gone.
    kept = result.parameters.keys() & resnet.parameters.keys()
    assert all(torch.equal(result.parameter(name), resnet.parameter(name)) for name in kept)
    assert not any(name.startswith(("stages.0.1.conv", "stages.2.2")) for name in result.parameters)


@pytest.mark.slow
def test_stages_of_inverted_residual_blocks_begin_with_one_without_a_shortcut(mobilenet):
    _, notes = substituted(mobilenet)
    assert notes["stages.3.global_layer"].message.endswith("stages.3.1, stages.3.2, stages.3.3")
    _, notes = substituted(mobilenet, "{start=block,diffusivity=constant}")
    assert "nothing repeats it" in notes["stages.1.1"].message
    assert notes["stages.3.global_layer"].message.endswith("stages.3.2, stages.3.3")


def test_options_change_the_layer(resnet):
    result, _ = substituted(resnet, "{steps=3,diffusivity=constant,keep=2,spacing=2}")
    steps = result.nodes("advection_diffusion")
    assert len(steps) == 9
    assert all("diffusivity_h" not in step.operands for step in steps)
    assert all(step.attributes["spacing"] == 2 for step in steps)
    assert "stages.0.1.conv1" in result and "stages.0.2.conv1" not in result


def test_a_layer_that_begins_at_a_block_keeps_the_block(resnet):
    result, _ = substituted(resnet, "{start=block}")
    assert "stages.0.1.conv1" in result and "stages.0.2.conv1" not in result
    step = result.node("stages.0.global_layer.advection_diffusion")
    assert step.operands["state"] == result.node("stages.0.global_layer.velocity_h.conv").input
    assert str(step.operands["previous"]) == "%stages.0.0.relu2"
    assert str(step.operands["state"]) == "%stages.0.1.relu2"


def test_candidates_are_the_stages(resnet):
    (instance,) = hwopt.passes.parse(PASS)
    candidates = instance.candidates(resnet, Context())
    assert len(candidates) == 3
    one = hwopt.apply(resnet, candidates[1])
    assert [n.name for n in one.nodes("advection_diffusion")] == [
        "stages.1.global_layer.advection_diffusion"
    ]


def test_a_network_without_residual_blocks_stays():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU())
    graph = hwopt.import_model(model, torch.zeros(1, 1, 8, 8))
    result, notes = substituted(graph)
    assert result is graph
    assert [note.message for note in notes.values()] == [
        "there are no residual blocks and no dense layers"
    ]


class Dense(torch.nn.Module):
    """Dense layers; with ``nested``, each puts its features beside what it reads."""

    def __init__(self, *, nested):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 10, 3, padding=1)
        convs = [torch.nn.Conv2d(10 + 4 * i, 4, 3, padding=1) for i in range(8)]
        self.convs = torch.nn.ModuleList(convs)
        self.last = torch.nn.Conv2d(42, 5, 1)
        self.nested = nested

    def forward(self, x):
        features = [self.stem(x)]
        for conv in self.convs:
            read = torch.cat(features, 1) if len(features) > 1 else features[0]
            made = torch.relu(conv(read))
            features = [read, made] if self.nested else [*features, made]
        return self.last(torch.cat(features, 1)).mean((2, 3))


@pytest.mark.slow
@pytest.mark.parametrize("nested", [False, True])
def test_of_dense_layers_as_many_stay_as_have_the_channels_of_the_others(nested):
    torch.manual_seed(0)
    graph = hwopt.import_model(Dense(nested=nested), torch.zeros(1, 3, 8, 8))
    result, notes = substituted(graph)
    # 10 + 3 x 4 channels are enough for the 5 x 4 of the others.
    assert "convs.2" in result and "convs.3" not in result
    (step,) = result.nodes("advection_diffusion")
    assert step.output.at() == (1, 20, 8, 8)
    (note,) = notes.values()
    assert note.changed and note.message.count("%") == 5
    x = torch.randn(1, 3, 8, 8)
    artifact = hwopt.compile(result, kernel_trials=0)
    assert max_difference(artifact(x), result.to_torch().eval()(x)) <= 1e-4
    result, _ = substituted(graph, "{keep=6}")
    assert "convs.5" in result and "convs.6" not in result
    assert substituted(graph, "{keep=8}")[0] is graph


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{keep=-1}", "keep must be at least 0, not -1"),
        ("{steps=-1}", "steps of a Global layer must be at least 0, not -1"),
        ("{spacing=0}", "spacing of a Global layer must be at least 1, not 0"),
        ("{time_step=0.0}", "time_step of a Global layer must be above 0, not 0.0"),
    ],
)
def test_bad_options(options, message, resnet):
    with pytest.raises(HwoptError, match=message):
        substituted(resnet, options)


@pytest.mark.slow
@pytest.mark.parametrize("options", ["", "{keep=0,start=block,diffusivity=constant,steps=2}"])
def test_trains_saves_prunes_and_compiles(options, tmp_path):
    torch.manual_seed(0)
    model = models.create("resnet20", input_shape=(1, 12, 12), width=4, blocks=2)
    graph, _ = substituted(hwopt.import_model(model, torch.zeros(1, 1, 12, 12)), options)
    module = graph.to_torch()
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    x, labels = torch.randn(32, 1, 12, 12), torch.arange(32) % 10
    losses = []
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(module(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    graph = graph.with_weights_of(module)
    graph.save(tmp_path / "saved")
    loaded = hwopt.Graph.load(tmp_path / "saved")
    pruned = hwopt.apply(loaded, "prune-channels{ratio=0.5}")
    assert pruned.num_parameters() < 0.5 * graph.num_parameters()
    for variant in (loaded, pruned):
        artifact = hwopt.compile(variant, kernel_trials=0)
        expected = variant.to_torch().eval()(x[:1])
        assert max_difference(artifact(x[:1]), expected) <= 1e-4


class Squeezed(nn.Module):
    """Layers with a squeeze-and-excite between them, with or without a shortcut."""

    def __init__(self, inputs, has_shortcut):
        super().__init__()
        self.first, self.last = nn.Conv2d(inputs, 8, 1), nn.Conv2d(8, 8, 1)
        self.gate, self.has_shortcut = nn.Conv2d(8, 8, 1), has_shortcut

    def forward(self, x):
        y = torch.relu(self.first(x))
        y = self.last(y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True))))
        return x + y if self.has_shortcut else y


class Around(nn.Module):
    """A residual block around another."""

    def __init__(self):
        super().__init__()
        self.first, self.inner, self.last = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

    def forward(self, x):
        y = self.first(x)
        y = y + self.inner(y)
        return x + self.last(y)


def test_the_first_block_may_have_branches_inside():
    model = nn.Sequential(Squeezed(3, False), Squeezed(8, True), Squeezed(8, True))
    graph = hwopt.import_model(model, torch.zeros(1, 3, 6, 6))
    _, notes = substituted(graph)
    assert notes["global_layer"].message == "in the place of 1.add, 2.add"


def test_a_first_layer_is_no_block():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.layer = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x):
            x = self.stem(x)
            return x + self.layer(x)

    graph = hwopt.import_model(Net(), torch.zeros(1, 3, 6, 6))
    result, notes = substituted(graph)
    assert result is graph and "keep=1" in notes["add"].message


def test_a_block_in_one_that_is_replaced_goes_with_it():
    graph = hwopt.import_model(nn.Sequential(Around(), Around()), torch.zeros(1, 4, 6, 6))
    result, notes = substituted(graph, "{keep=0}")
    assert [note.changed for note in notes.values()].count(True) == 1
    assert notes["1.add"].message == "inside 1.add_1, which is replaced"
    assert len(result.nodes("advection_diffusion")) == 1


def test_a_network_of_other_numbers_keeps_them():
    graph = hwopt.import_model(Around().double(), torch.zeros(1, 4, 6, 6, dtype=torch.float64))
    result, _ = substituted(graph, "{keep=0}")
    assert result.node("global_layer.advection_diffusion").output.dtype == "float64"
