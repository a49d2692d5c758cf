"""Channels of recurrent and language networks, of normalized weights and of gates."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import hwopt
from tests.passes.test_odd_networks import Call, half_dead

PRUNED = "prune-channels{ratio=0.5,constants=drop}"


def _left(graph: hwopt.Graph, passes: str = PRUNED) -> tuple[hwopt.Graph, float]:
    pruned = hwopt.apply(graph, passes)
    return pruned, pruned.macs() / graph.macs()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "bidirectional"), [(nn.LSTM, True), (nn.GRU, False), (nn.RNN, True)]
)
def test_numbers_of_cells_that_do_nothing_go(make, bidirectional):
    layer = make(6, 8, 2, batch_first=True, bidirectional=bidirectional)
    model = Call(
        lambda m, x: m.head(m.rnn(m.before(x))[0][:, -1]),
        before=nn.Linear(4, 6),
        rnn=layer,
        head=nn.Linear(16 if bidirectional else 8, 3),
    )
    x = torch.randn(2, 5, 4)
    graph = half_dead(hwopt.import_model(model, x))
    for name, tensor in graph.parameters.items():
        if "bias" in name and not name.startswith("head"):
            graph.set_parameter(name, tensor.index_fill(0, torch.arange(1, len(tensor), 2), 0.0))
    pruned, left = _left(graph)
    assert left < 0.35
    assert pruned.parameter("rnn.weight_hh_l1").shape[1] == 4
    torch.testing.assert_close(pruned.to_torch().eval()(x), graph.to_torch().eval()(x))
    artifact = hwopt.compile(pruned, x, kernel_trials=0)
    torch.testing.assert_close(artifact(x), graph.to_torch().eval()(x).detach())


def test_a_projected_state_is_narrowed():
    model = Call(
        lambda m, x: m.head(m.rnn(x)[0]), rnn=nn.LSTM(4, 12, proj_size=6), head=nn.Linear(6, 2)
    )
    pruned, _ = _left(hwopt.import_model(model, torch.randn(5, 2, 4)))
    assert pruned.parameter("rnn.weight_hr_l0").shape == (3, 6)
    assert pruned.parameter("rnn.weight_ih_l0").shape == (24, 4)


def test_a_state_that_is_an_input_keeps_its_numbers():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.GRU(4, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            y, state = self.rnn(x, state)
            return self.head(y), state

    graph = hwopt.import_model(Model(), (torch.randn(5, 2, 4), torch.randn(1, 2, 8)))
    assert _left(graph)[1] == 1.0


@pytest.mark.parametrize("convolution", [nn.Conv1d, nn.ConvTranspose1d])
def test_normalized_weights_are_pruned_as_plain_ones(convolution):
    def make(norm):
        torch.manual_seed(0)
        layers = [convolution(3, 8, 3, padding=1), convolution(8, 6, 3, padding=1)]
        layers = [norm(layer) for layer in layers]
        return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.ReLU(), nn.Conv1d(6, 2, 1))

    x = torch.randn(2, 3, 10)
    passes = "prune-channels{ratio=0.5}"
    plain, _ = _left(hwopt.import_model(make(lambda layer: layer), x), passes)
    normed, left = _left(hwopt.import_model(make(weight_norm), x), passes)
    assert left < 0.5 and len(normed.nodes("aten._weight_norm.default")) == 2
    torch.testing.assert_close(normed.to_torch().eval()(x), plain.to_torch().eval()(x))
    assert all(normed.is_trainable(name) for name in normed.parameters)


def test_a_gate_goes_with_what_it_opens():
    model = nn.Sequential(nn.Conv1d(4, 16, 3), nn.GLU(1), nn.Conv1d(8, 4, 3), nn.Flatten())
    x = torch.randn(2, 4, 9)
    graph = half_dead(hwopt.import_model(model, x))
    graph.set_parameter("0.bias", graph.parameter("0.bias") * 0)
    pruned, left = _left(graph)
    assert left <= 0.5 and pruned.parameter("0.weight").shape[0] == 8
    torch.testing.assert_close(pruned.to_torch()(x), graph.to_torch()(x))


class Turned(nn.Module):
    """Attention with grouped queries and rotary positions, between root mean square norms."""

    def __init__(self, heads: int = 4, shared: int = 2, width: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.heads, self.shared, self.width = heads, shared, width
        self.norm, self.after = nn.RMSNorm(16), nn.RMSNorm(16)
        self.inside = nn.Linear(5, 16)
        self.q, self.k, self.v = (
            nn.Linear(16, n * width, bias=False) for n in (heads, shared, shared)
        )
        self.o, self.head = nn.Linear(heads * width, 16), nn.Linear(16, 3)
        self.register_buffer("rate", 0.1 ** torch.arange(width // 2))

    def turned(self, x: Tensor) -> Tensor:
        angle = torch.arange(x.shape[2])[:, None].float() * self.rate
        angle = torch.cat([angle, angle], -1)
        first, second = x[..., : self.width // 2], x[..., self.width // 2 :]
        return x * angle.cos() + torch.cat([-second, first], -1) * angle.sin()

    def forward(self, x: Tensor) -> Tensor:
        x = self.inside(x)
        y = self.norm(x)
        q, k, v = (
            layer(y).unflatten(-1, (-1, self.width)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        y = nn.functional.scaled_dot_product_attention(
            self.turned(q), self.turned(k), v, enable_gqa=True
        )
        return self.head(self.after(x + self.o(y.transpose(1, 2).flatten(2))))


@pytest.mark.slow
@pytest.mark.parametrize("parts", ["narrow", "whole"])
def test_grouped_and_turned_queries(parts):
    x = torch.randn(2, 6, 5)
    graph = hwopt.import_model(Turned(), x)
    pruned, left = _left(graph, f"prune-channels{{ratio=0.5,parts={parts}}}")
    assert left < 0.4
    shape = [pruned.parameter(f"{name}.weight").shape[0] for name in "qkv"]
    assert shape == [16, 8, 8]
    assert pruned.parameter("norm.weight").shape == (8,)
    assert pruned.parameter("cos.value").shape[-1] == (4 if parts == "narrow" else 8)
    hwopt.compile(pruned, x, kernel_trials=0)


def test_turned_queries_that_do_nothing():
    graph = hwopt.import_model(Turned(), x := torch.randn(2, 6, 5))
    for name in ("q.weight", "k.weight"):  # every fourth pair of a head's numbers
        weight = graph.parameter(name).unflatten(0, (-1, 4)).clone()
        weight[:, 3] = 0
        graph.set_parameter(name, weight.flatten(0, 1))
    pruned, _ = _left(graph, "prune-channels{ratio=0.25,layers=[q]}")
    assert pruned.parameter("cos.value").shape[-1] == 6
    torch.testing.assert_close(pruned.to_torch().eval()(x), graph.to_torch().eval()(x))


def test_products_with_weights_are_layers():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (nn.Parameter(torch.randn(*s)) for s in ((4, 8), (8, 2)))
            self.shift = nn.Parameter(torch.randn(8))

        def forward(self, x: Tensor) -> Tensor:
            return torch.addmm(self.shift, x, self.a).relu() @ self.b

    model, x = Model(), torch.randn(3, 4)
    graph = hwopt.import_model(model, x)
    assert [node.op for node in graph.nodes()] == ["linear", "relu", "linear"]
    torch.testing.assert_close(graph.to_torch()(x), model(x))
    assert _left(graph)[1] == 0.5


def test_a_weight_that_is_read_twice_stays_a_product():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(torch.randn(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.a + self.a.sum()

    graph = hwopt.import_model(Model(), torch.randn(3, 4))
    assert graph.nodes("matmul") and not graph.nodes("linear")


def test_writing_into_all_of_a_view_is_seen_through():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            part = self.a(x).relu()[:, :6]
            part += self.b(self.a(x))
            return self.c(part)

    model, x = Model(), torch.randn(2, 3, 4, 4)
    graph = hwopt.import_model(model, x)
    assert not graph.nodes("aten.slice_scatter.default")
    torch.testing.assert_close(graph.to_torch()(x), model(x))
    assert _left(graph)[1] < 0.6


def test_writing_into_some_rows_only():
    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x * 2
            y[:1] += 1
            y[1:, 2:] -= 5
            return y[:2]

    x = torch.randn(4, 5)
    graph = hwopt.import_model(Model(), (x,))
    torch.testing.assert_close(graph.to_torch()(x), Model()(x))


def test_what_removed_channels_add_goes_to_a_bias_that_is_computed():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c = nn.Linear(4, 8), nn.Linear(8, 2)
            self.weight = nn.Parameter(torch.randn(8, 8))
            self.one, self.two = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4))

        def forward(self, x: Tensor) -> Tensor:
            bias = torch.cat([self.one, self.two])
            return self.c(nn.functional.linear(self.a(x), self.weight, bias))

    x = torch.randn(3, 4)
    graph = half_dead(hwopt.import_model(Model(), x))  # what is left of a channel is its bias
    pruned, left = _left(graph, "prune-channels{ratio=0.5}")
    assert left < 0.5 and len(pruned.parameter("one")) + len(pruned.parameter("two")) == 4
    torch.testing.assert_close(pruned.to_torch()(x), graph.to_torch()(x))


def test_branches_that_share_by_a_softmax():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside, self.gate = nn.Conv2d(3, 16, 1), nn.Conv2d(8, 16, 1)
            self.head = nn.Conv2d(8, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            both = self.inside(x).unflatten(1, (2, 8))
            share = self.gate(both.sum(1).mean((2, 3), keepdim=True)).unflatten(1, (2, 8))
            return self.head((both * share.softmax(1)).sum(1))

    x = torch.randn(2, 3, 4, 4)
    pruned, left = _left(hwopt.import_model(Model(), x))
    assert left < 0.6 and pruned.parameter("head.weight").shape[1] == 4
    hwopt.compile(pruned, x, kernel_trials=0)


class Grouped(nn.Module):
    """A group norm, as it is or as ONNX's exporters write it."""

    def __init__(self, written_out: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 2, 1)
        self.weight = nn.Parameter(torch.rand(12, 1, 1))
        self.bias = nn.Parameter(torch.randn(12, 1, 1))
        self.written_out = written_out

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.written_out:
            y = nn.functional.group_norm(x.reshape(1, 3, -1), 3).reshape(1, 12, 6, 6)
        else:
            y = nn.functional.group_norm(x, 3)
        return self.last((y * self.weight + self.bias).tanh())


def test_a_group_norm_that_is_written_out():
    x = torch.randn(1, 3, 8, 8)
    found = [_left(hwopt.import_model(Grouped(out), x), "prune-channels") for out in (False, True)]
    assert found[0][1] == found[1][1] == 0.5
    torch.testing.assert_close(*(pruned.to_torch().eval()(x) for pruned, _ in found))


@pytest.mark.parametrize("how", ["expand", "expand_as", "broadcast"])
def test_what_is_divided_by_its_norm(how):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            norm = x.norm(dim=-1, keepdim=True).clamp_min(1e-6)
            if how != "broadcast":
                norm = norm.expand_as(x) if how == "expand_as" else norm.expand(-1, 5, 8)
            return self.b(x / norm)

    x = torch.randn(3, 5, 4)
    graph = half_dead(hwopt.import_model(Model(), x))
    graph.set_parameter("a.bias", graph.parameter("a.bias") * 0)
    pruned, left = _left(graph)
    assert left == 0.5
    torch.testing.assert_close(pruned.to_torch()(x), graph.to_torch()(x))
