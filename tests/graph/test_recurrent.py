"""Recurrent networks: one node for a cell over time, whatever the layers and directions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from hwopt.graph import Graph
from hwopt.graph.recurrent import OPERATOR
from tests.networks import max_difference

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

KINDS = {
    "lstm": (nn.LSTM, {}),
    "two layers, both ways": (nn.LSTM, {"num_layers": 2, "bidirectional": True}),
    "projected": (nn.LSTM, {"proj_size": 3, "bidirectional": True}),
    "without bias": (nn.GRU, {"num_layers": 2, "bias": False}),
    "gru both ways, batch first": (nn.GRU, {"bidirectional": True, "batch_first": True}),
    "rnn": (nn.RNN, {}),
    "three layers of relu": (nn.RNN, {"nonlinearity": "relu", "num_layers": 3}),
}


class All(nn.Module):
    """Returns everything that a recurrent module returns."""

    def __init__(self, kind, options):
        super().__init__()
        torch.manual_seed(0)
        self.layers = kind(6, 5, **options)

    def forward(self, x):
        output, states = self.layers(x)
        return (output, *states) if isinstance(states, tuple) else (output, states)


@pytest.fixture(params=KINDS)
def model(request):
    return All(*KINDS[request.param]).eval()


@pytest.mark.slow
def test_every_output_is_torchs(model):
    x = torch.randn(4, 7, 6)
    graph = hwopt.import_model(model, x)
    assert max_difference(graph.to_torch().eval()(x), model(x)) <= 1e-6
    assert len(graph.nodes("recurrent")) == len(list(model.layers.all_weights))


@pytest.mark.slow
def test_text_and_files_hold_it(model, tmp_path):
    x = torch.randn(4, 7, 6)
    graph = hwopt.import_model(model, x)
    assert Graph.from_text(graph.to_text(), graph.parameters).to_text() == graph.to_text()
    graph.save(tmp_path)
    loaded = Graph.load(tmp_path)
    assert max_difference(loaded.to_torch().eval()(x), model(x)) <= 1e-6


def test_gradients_are_torchs(model):
    x = torch.randn(4, 7, 6)
    module = hwopt.import_model(model, x).to_torch().train()
    for network in (module, model):
        network.zero_grad()
        sum((y * torch.linspace(0, 1, y.numel()).view_as(y)).sum() for y in network(x)).backward()
    expected = dict(model.named_parameters())
    assert set(expected) == {name for name, _ in module.named_parameters()}
    for name, parameter in module.named_parameters():
        assert torch.allclose(parameter.grad, expected[name].grad, atol=1e-5)


def test_cells_of_one_step():
    class Cells(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.LSTMCell(6, 5), nn.GRUCell(5, 4), nn.RNNCell(4, 3)

        def forward(self, x, h, c, g):
            h, c = self.a(x, (h, c))
            g = self.b(h, g)
            return h, c, g, self.c(g)

    torch.manual_seed(0)
    model = Cells().eval()
    inputs = tuple(torch.randn(2, n) for n in (6, 5, 5, 4))
    graph = hwopt.import_model(model, inputs)
    assert [node.attributes["cell"] for node in graph.nodes("recurrent")] == [
        "lstm",
        "gru",
        "rnn_tanh",
    ]
    assert max_difference(graph.to_torch().eval()(*inputs), model(*inputs)) <= 1e-6


def test_products_count():
    graph = hwopt.import_model(All(nn.LSTM, {"num_layers": 2}), torch.randn(9, 1, 6))
    assert graph.macs() == 9 * 4 * 5 * (6 + 5 + 5 + 5)


def test_dropout_between_layers_follows_the_mode():
    model = All(nn.LSTM, {"num_layers": 2, "dropout": 0.5})
    x = torch.randn(9, 2, 6)
    module = hwopt.import_model(model, x).to_torch()
    assert max_difference(module.eval()(x), model.eval()(x)) <= 1e-6
    module.train()
    assert max_difference(module(x), module(x)) > 1e-3


def test_an_unknown_cell_is_named():
    ones = torch.ones(1, 1)
    with pytest.raises(HwoptError, match="there is no cell 'qrnn'"):
        OPERATOR(ones[None], ones, None, ones, ones, None, None, None, "qrnn")
