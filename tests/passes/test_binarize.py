"""``binarize`` and ``freeze-binary``: which layers, what around them, and that it all works."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import hwopt
from hwopt import models
from hwopt.errors import HwoptError
from hwopt.graph import Value
from hwopt.graph.storage import WEIGHTS_FILE
from hwopt.passes import Context
from hwopt.passes.layers import BINARY, binary_weights
from tests.networks import IMAGE, Residual, make, max_difference


@pytest.fixture
def graph():
    return hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))


def notes_of(graph, text, **options):
    """Return the graph, and the message of every note by the node's name."""
    context = Context(debug=True, **options)
    result = hwopt.apply(graph, text, context)
    return result, {note.node: note.message for _, note in context.notes}


def test_the_first_and_the_last_layer_stay(graph):
    binary, notes = notes_of(graph, "binarize")
    found = {node.name for node in binary.nodes() if node.op in BINARY.values()}
    assert found == {"conv1", "conv2"}
    assert notes["stem"] == "the first layer: keep_first"
    assert notes["fc"] == "the last layer: keep_last"
    assert notes["conv1"] == "binary, a shortcut"
    # Its input is added behind it by the network itself; it has no norm.
    assert notes["conv2"] == "binary, a batch norm, a shortcut"
    assert not binary.nodes("relu") and len(binary.nodes("prelu")) == 3


def test_the_published_network_comes_out():
    """275,786 parameters, of which 267,264 are binary: Paren et al. 2022."""
    model = models.create("single_conv_resnet20")
    binary = hwopt.apply(hwopt.import_model(model, torch.zeros(1, 3, 32, 32)), "binarize")
    weights = binary_weights(binary)
    trainable = [name for name in binary.parameters if binary.is_trainable(name)]
    assert len(weights) == 18
    assert sum(binary.parameter(name).numel() for name in weights) == 267_264
    assert sum(binary.parameter(name).numel() for name in trainable) == 275_786


def test_relus_before_pooling_become_prelus_and_what_stays_non_negative_is_said():
    def network(activation):
        first = [nn.Conv2d(3, 32, 3), activation, nn.MaxPool2d(2), nn.Dropout(0.1)]
        return nn.Sequential(*first, nn.Conv2d(32, 32, 3), nn.Flatten(), nn.Linear(32, 4))

    x = torch.zeros(1, 3, 8, 8)
    binary = hwopt.apply(hwopt.import_model(network(nn.ReLU()), x), "binarize")
    assert not binary.nodes("relu") and binary.nodes("max_pool2d")[0].input == Value("1.end")
    context = Context()
    hwopt.apply(hwopt.import_model(network(nn.ReLU6()), x), "binarize", context)
    assert "kept 1: never negative: all signs that 4 reads begin as +1" in [
        str(note) for _, note in context.notes
    ]


def test_options_choose_layers(graph):
    kept = {"keep_first": "false", "keep_last": "false", "smallest": "1"}
    text = ",".join(f"{name}={value}" for name, value in kept.items())
    everything, _ = notes_of(graph, f"binarize{{{text}}}")
    assert len(binary_weights(everything)) == 4
    one, notes = notes_of(graph, "binarize{layers=[conv2],shortcuts=false,activation=keep}")
    assert binary_weights(one) == ["conv2.weight"]
    assert notes["conv1"] == "not among those chosen"
    assert len(one.nodes("relu")) == 3 and not one.nodes("prelu")
    none, notes = notes_of(graph, "binarize{smallest=73}")
    assert none is graph
    assert notes["conv1"] == "only 72 products a sum: smallest=73"


def test_only_layers_that_are_measured_to_gain_enough(graph):
    """Stands for a target on which conv2 alone is faster."""

    def latency(graphs):
        return [0.5 if "conv2.weight" in binary_weights(one) else 1.0 for one in graphs]

    binary, notes = notes_of(graph, "binarize{min_gain=0.2}", latency=latency)
    assert binary_weights(binary) == ["conv2.weight"]
    assert notes["conv1"] == "alone it saves 0.0% of the latency: min_gain"
    with pytest.raises(HwoptError, match="needs measured latency"):
        hwopt.apply(graph, "binarize{min_gain=0.2}")


class Odd(nn.Module):
    """Layers that stay: grouped, 1x1, shared, and linear on tokens."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=2)
        self.point = nn.Conv2d(16, 16, 1)
        self.twice = nn.Conv2d(16, 16, 3, padding=1)
        self.tokens = nn.Linear(16, 16)
        self.last = nn.Linear(16, 4)

    def forward(self, x):
        x = self.point(torch.relu(self.grouped(self.first(x))))
        x = self.twice(self.twice(x))
        x = self.tokens(x.flatten(2).transpose(1, 2)).mean(1)
        return self.last(x)


def test_what_stays_is_said_with_its_reason():
    graph = hwopt.import_model(Odd(), torch.randn(1, *IMAGE))
    same, notes = notes_of(graph, "binarize{smallest=1}")
    assert same is graph
    assert notes["grouped"] == "grouped: its sums are too short for bits"
    assert notes["point"] == "a 1x1 convolution: keep_pointwise"
    shared = {message for name, message in notes.items() if name.startswith("twice")}
    assert shared == {"its weight is shared"}
    assert notes["tokens"] == "a linear layer on more than one vector a sample"
    masked = hwopt.apply(graph, "prune-weights{ratio=0.5}")
    _, notes = notes_of(masked, "binarize{smallest=1,keep_pointwise=false}")
    assert notes["point"] == "its weight has a mask or a codebook, which signs have not"


class Perceptron(nn.Sequential):
    """Linear layers with a norm and without one."""

    def __init__(self):
        layers = [nn.Flatten(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 64)]
        layers += [nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 4)]
        super().__init__(*layers)


@pytest.mark.slow
@pytest.mark.parametrize("network", [Residual, Perceptron])
def test_trained_frozen_saved_loaded_and_compiled(network, tmp_path):
    torch.manual_seed(0)
    graph = hwopt.import_model(make(network), torch.randn(1, *IMAGE))
    binary = hwopt.apply(graph, "binarize", Context(debug=True))
    names = binary_weights(binary)
    assert len(names) == 2
    module = binary.to_torch().train()
    optimizer = torch.optim.SGD(module.parameters(), 0.01)
    module(torch.randn(8, *IMAGE)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    optimizer.step()
    frozen = hwopt.apply(binary.with_weights_of(module), "freeze-binary", Context(debug=True))
    for name in names:
        assert set(frozen.parameter(name).unique().tolist()) == {-1.0, 1.0}
        assert not frozen.is_trainable(name)
    again, notes = notes_of(frozen, "freeze-binary")
    assert again is frozen and set(notes.values()) == {"is frozen already"}
    frozen.save(tmp_path / "graph")
    loaded = hwopt.Graph.load(tmp_path / "graph")
    x = torch.randn(2, *IMAGE)
    expected = frozen.to_torch().eval()(x)
    assert torch.equal(loaded.to_torch().eval()(x), expected)
    artifact = hwopt.compile(loaded, x, kernel_trials=0, output=tmp_path / "artifact")
    assert max_difference(torch.from_numpy(artifact(x.numpy())), expected) <= 1e-4
    assert sum("binary" in kernel.name for kernel in artifact.manifest.kernels) == 2


def test_a_weight_takes_a_bit_on_disk(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Conv2d(128, 128, 3, padding=1) for _ in range(3)))
    graph = hwopt.import_model(model, torch.randn(1, 128, 4, 4))
    frozen = hwopt.apply(graph, "binarize,freeze-binary")
    (name,) = binary_weights(frozen)
    frozen.save(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS_FILE)
    stored = sum(tensor.nbytes for key, tensor in tensors.items() if key.startswith(name))
    assert stored <= frozen.parameter(name).nbytes / 30


def test_without_binary_layers_nothing_is_frozen(graph):
    same, notes = notes_of(graph, "freeze-binary")
    assert same is graph and notes == {"all layers": "none is binary"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("smallest=0", "smallest must be at least 1"),
        ("min_gain=1.0", r"min_gain must be in \[0, 1"),
    ],
)
def test_bad_options(options, message, graph):
    with pytest.raises(HwoptError, match=message):
        hwopt.apply(graph, f"binarize{{{options}}}")


def test_names_that_match_nothing_are_noted(graph):
    _, notes = notes_of(graph, "binarize{layers=[nothing]}")
    assert notes["nothing"] == "no layer has such a name"
