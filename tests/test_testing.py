"""The conformance kit accepts hwopt's own passes and finds what is wrong with bad ones."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

import hwopt
from hwopt import passes
from hwopt.graph import Node
from hwopt.passes import Pass, PassError, PassResult
from hwopt.passes.route import Route
from hwopt.testing import check_pass, example_graphs

#: A pass that needs other options on small networks, and why.
OPTIONS = {
    # Emptying a layer is refused, and these have layers of a few weights.
    "prune-weights": "prune-weights{ratio=0.5,scope=layer}",
    # These layers add few products.
    "binarize": "binarize{smallest=1}",
    # These have one block a stage.
    "substitute-global-layer": "substitute-global-layer{keep=0}",
}
#: The example networks have no empty channels, no dead code, no constants and no layers alike.
NOTHING_TO_DO = {"condense", "eliminate-dead-code", "fold-constants", "fuse-layers"}
#: Their own tests below: in small networks latency does not depend on widths, and none is binary;
#: a place to cut has another name in each; not all take images, and none finds boxes.
OWN_TEST = {"prune-to-latency", "freeze-binary", "route", "take-pixels", "suppress-boxes"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(passes.names()) - OWN_TEST))
def test_every_pass_conforms(name):
    lines = check_pass(OPTIONS.get(name, name))
    assert len(lines) == 4
    assert name in NOTHING_TO_DO or any(line.endswith(": modified") for line in lines)


@pytest.mark.alone
def test_a_pass_that_measures_conforms():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 128, 3), nn.ReLU()]
    wide = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 4))
    graph = hwopt.import_model(wide, torch.randn(1, 3, 64, 64))
    text = "prune-to-latency{share=0.8,criterion=l2,widths=4}"
    assert check_pass(text, {"wide": graph}) == ["wide: modified"]


@pytest.mark.slow
def test_a_pass_on_binary_layers_conforms():
    text = "binarize{smallest=1,keep_first=false,keep_last=false}"
    graphs = {name: hwopt.apply(graph, text) for name, graph in example_graphs().items()}
    lines = check_pass("freeze-binary", graphs)
    assert any(line.endswith(": modified") for line in lines)


@pytest.mark.slow
def test_what_images_and_boxes_need_conforms():
    graphs = example_graphs().items()
    images = {name: one for name, one in graphs if len(one.example_inputs()[0].shape) == 4}
    lines = check_pass("take-pixels", images)
    assert len(lines) >= 2 and all(line.endswith(": modified") for line in lines)
    detector = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.Flatten(2))
    graph = hwopt.import_model(detector, torch.randn(1, 3, 16, 16))
    assert check_pass("suppress-boxes{most=4}", {"detector": graph}) == ["detector: modified"]


@pytest.mark.slow
def test_routing_conforms():
    # No gradient goes through the decision: a learned router has a training of its own.
    lines = []
    for name, graph in example_graphs().items():
        for instance in Route(router="entropy").candidates(graph, passes.Context()):
            lines += check_pass(str(instance), {name: graph})
    assert len(lines) >= 3 and all(line.endswith(": modified") for line in lines)


def weaker(graph):
    """Halve the first layer's weight."""
    result = graph.copy()
    name = next(n for n in graph.parameters if n.endswith("weight"))
    result.set_parameter(name, graph.parameter(name) / 2)
    return result


@dataclass(frozen=True)
class Random(Pass):
    name = "random"

    def apply(self, graph, context):
        result = graph.copy()
        result.set_parameter("4.bias", torch.randn(4))
        return PassResult(result, modified=True)


@dataclass(frozen=True)
class Lies(Pass):
    name = "lies"
    preserves_function = True

    def apply(self, graph, context):
        return PassResult(weaker(graph), modified=True)


@dataclass(frozen=True)
class CutsTheGradient(Pass):
    name = "cuts"

    def apply(self, graph, context):
        result = graph.copy()
        relu = result.node("1")
        result.replace_node(Node("1", "gt", {"self": relu.input}, {"other": 0}))
        result.add_node("cast", "to", {"self": hwopt.graph.Value("1")}, {"dtype": "torch.float32"})
        result.replace_node(result.node("2").with_operands(input=hwopt.graph.Value("cast")))
        return PassResult(result, modified=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Random, "another graph with the same seed"),
        (Lies, "preserves the function, but outputs differ"),
        (CutsTheGradient, "parameter 0.weight gets no gradient"),
    ],
)
def test_what_is_wrong_is_named_with_the_graph(kind, message, monkeypatch):
    monkeypatch.setitem(passes.registry._FROM_FILES, kind.name, kind)
    graphs = {"perceptron": example_graphs()["perceptron"]}
    with pytest.raises(PassError, match=f"on the graph perceptron: .*{message}"):
        check_pass(kind(), graphs, compiled=False)
