from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from hwopt.graph import Batch, Graph, Parameter, TensorSpec, Value
from tests.networks import IMAGE, Residual, make


@pytest.fixture
def graph() -> Graph:
    return hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))


def test_nodes_come_after_what_they_read(graph):
    seen = set(graph.inputs)
    for node in graph.nodes():
        assert all(value.node in seen for _, value in node.values())
        seen.add(node.name)


def test_a_copy_is_independent(graph):
    text = graph.to_text()
    other = graph.copy()
    other.set_parameter("fc.bias", torch.ones(4))
    other.replace_uses(Value("fc"), Value("mean"))
    other.remove_node("fc")
    assert graph.to_text() == text
    assert graph.parameter("fc.bias").tolist() != [1.0] * 4


def test_networkx_is_a_copy_with_one_edge_for_every_operand(graph):
    network = graph.to_networkx()
    assert network.number_of_edges() == sum(len(list(n.values())) for n in graph.nodes())
    network.clear()
    assert len(graph.nodes()) > 5


def test_the_same_value_twice_makes_two_edges():
    graph = Graph()
    x = graph.add_input("x", TensorSpec((Batch(), 3)))
    graph.outputs["output"] = graph.add_node("square", "mul", {"self": x, "other": x})
    graph.infer_shapes()
    assert graph.to_networkx().number_of_edges("x", "square") == 2
    assert graph.to_torch()(torch.full((1, 3), 3.0)).tolist() == [[9.0] * 3]


def test_a_node_that_is_read_cannot_be_removed(graph):
    with pytest.raises(ValueError, match="still read"):
        graph.remove_node("conv1")


def test_unknown_names_get_the_nearest(graph):
    with pytest.raises(HwoptError, match="did you mean 'conv1'"):
        graph.node("conv11")
    with pytest.raises(HwoptError, match=r"did you mean 'fc.bias'"):
        graph.parameter("fc.bia")


def test_shapes_that_do_not_fit_name_the_node(graph):
    other = graph.copy()
    other.set_parameter("fc.weight", torch.randn(4, 9))
    with pytest.raises(HwoptError, match=r"node 'fc' \(linear\) does not fit"):
        other.infer_shapes()


def test_an_unknown_argument_is_refused():
    graph = Graph()
    x = graph.add_input("x", TensorSpec((Batch(), 3)))
    with pytest.raises(HwoptError, match=r"relu has no argument 'slope'"):
        graph.add_node("r", "relu", {"self": x}, {"slope": 1})


@pytest.mark.parametrize("name", ["forward", "block.train", "a b", ""])
def test_names_that_torch_could_not_hold_are_refused(name):
    with pytest.raises(ValueError):
        Graph().add_input(name, TensorSpec((1,)))


def test_costs_of_known_layers():
    graph = hwopt.import_model(
        torch.nn.Conv2d(3, 8, 3, stride=2, groups=1), torch.randn(1, 3, 9, 9)
    )
    assert graph.macs() == 8 * 4 * 4 * 3 * 9
    assert graph.num_parameters() == 8 * 27 + 8


def test_running_statistics_are_not_trained(graph):
    assert not graph.is_trainable("norm1.running_mean")
    assert graph.num_parameters() == sum(p.numel() for p in make(Residual).parameters())


def test_parameter_users(graph):
    assert [(n.name, role) for n, role in graph.parameter_users("fc.bias")] == [("fc", "bias")]
    assert graph.node("fc").parameter("bias") == "fc.bias"
    assert graph.node("fc").operands["bias"] == Parameter("fc.bias")


def test_example_inputs_have_the_batch_size_that_was_asked_for():
    graph = hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))
    assert [tuple(x.shape) for x in graph.example_inputs(3)] == [(3, *IMAGE)]
    fixed = Graph("fixed")
    fixed.add_input("x", TensorSpec((1, 4)))
    assert [tuple(x.shape) for x in fixed.example_inputs()] == [(1, 4)]
    with pytest.raises(HwoptError, match="the batch size cannot be 2"):
        fixed.example_inputs(2)


def test_what_was_found_once_is_right_for_other_attributes_strides_and_batches():
    """What shapes remember tells 1 from True, views from copies, and errors stay errors."""

    class Net(nn.Module):
        def __init__(self, keep, start):
            super().__init__()
            self.keep, self.start = keep, start

        def forward(self, x):
            turned = x.transpose(1, 2)
            return turned.flatten(self.start).sum(1, keepdim=self.keep)

    for keep, start in itertools.product((True, False), (1, 2)):
        net = Net(keep, start)
        for batch in (1, 2, 5):
            x = torch.randn(batch, 3, 4, 5)
            for _ in range(2):
                graph = hwopt.import_model(net, torch.zeros(1, 3, 4, 5))
                graph.infer_shapes()
                (spec,) = (graph.spec(one) for one in graph.outputs.values())
                assert spec.at(batch) == tuple(net(x).shape)
