from __future__ import annotations

import torch
from torch import Tensor, nn

import hwopt
from hwopt.passes import Context
from hwopt.testing import check_pass
from tests.networks import max_difference


class Tables(nn.Module):
    """Reads what it computes from tables in several places, and returns some of it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.randn(6, 2))
        self.mlp = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 6))
        self.token = nn.Parameter(torch.randn(1, 6))
        self.fc = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        bias = self.mlp(self.table)
        first, second = bias.chunk(2)
        mask = x.new_zeros((6,))
        mask[2] = 1.0
        x = self.fc(x) @ bias + first.sum(0) + second[0] + mask
        return x + self.token.expand(x.shape[0], -1), bias


def test_what_depends_on_parameters_alone_is_computed_once(golden):
    torch.manual_seed(0)
    model = Tables().eval()
    x = torch.randn(3, 6)
    graph = hwopt.import_model(model, x)
    context = Context(debug=True)
    folded = hwopt.apply(graph, "fold-constants", context)
    golden("fold_constants.txt", folded.to_text())
    assert folded.num_parameters() == 6 + 42  # the token and the layer
    for got, expected in zip(folded.to_torch().eval()(x), model(x), strict=True):
        assert max_difference(got, expected) <= 1e-6
    assert hwopt.apply(folded, "fold-constants").to_text() == folded.to_text()
    assert max_difference(hwopt.compile(graph, kernel_trials=0)(x[:1])[0], model(x[:1])[0]) <= 1e-5


def test_what_is_packed_or_random_is_kept():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 8))

        def forward(self, x):
            return x @ self.weight.T + torch.rand(8)

    graph = hwopt.import_model(Net(), torch.zeros(1, 8))
    folded = hwopt.apply(graph, "fold-constants")
    assert [node.op for node in folded.nodes()] == ["matmul", "aten.rand.default", "add"]
    graph.set_mask("weight", torch.eye(8) > 0)
    assert hwopt.apply(graph, "fold-constants").to_text() == graph.to_text()


def test_conformance():
    graph = hwopt.import_model(Tables().eval(), torch.randn(2, 6))
    assert check_pass("fold-constants", {"tables": graph}) == ["tables: modified"]
