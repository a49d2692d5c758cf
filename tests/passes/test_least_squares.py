"""Channels that their readers can do without, and readers that are fitted to what is left."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from hwopt.graph import Value
from hwopt.passes import Context
from hwopt.passes.channels.moments import values_of
from hwopt.passes.channels.readers import Reader
from tests.networks import IMAGE, IMAGE_NETWORKS, make, max_difference

FITTED = "criterion=reconstruction,constants=least-squares,batches=0"


def context(shape, count=3, size=64):
    def batches():
        generator = torch.Generator().manual_seed(0)
        for _ in range(count):
            yield torch.randn(size, *shape, generator=generator), None

    return Context(batches=batches, debug=True)


def perceptron(hidden=6, outputs=3):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
    return model, hwopt.import_model(model, torch.randn(2, 4))


def fitted_by_numpy(model, inputs, kept):
    """Return weight, bias and mean squared error of the last layer, fitted to kept channels."""
    with torch.no_grad():
        hidden, goal = model[:2](inputs).double().numpy(), model(inputs).double().numpy()
    columns = np.concatenate([hidden[:, kept], np.ones((len(hidden), 1))], 1)
    solution, *_ = np.linalg.lstsq(columns, goal, rcond=None)
    return solution[:-1].T, solution[-1], ((columns @ solution - goal) ** 2).sum(1).mean()


def test_a_reader_is_fitted_as_numpy_fits_it():
    model, graph = perceptron()
    given = context((4,))
    pruned = hwopt.apply(graph, f"prune-channels{{ratio=0.5,layers=[0],{FITTED}}}", given)
    rows = [(pruned.parameter("0.weight") == row).all(1).any().item() for row in model[0].weight]
    inputs = torch.cat([one for one, _ in given.batches()])
    weight, bias, _ = fitted_by_numpy(model, inputs, np.flatnonzero(rows))
    assert sum(rows) == 3
    np.testing.assert_allclose(pruned.parameter("2.weight").numpy(), weight, atol=1e-3)
    np.testing.assert_allclose(pruned.parameter("2.bias").numpy(), bias, atol=1e-3)
    assert "changed 2: fitted: its error is" in given.remarks()[-1]


def test_the_channel_goes_first_that_is_missed_least():
    """Against every possible choice, fitted by NumPy."""
    model, graph = perceptron(hidden=5)
    given = context((4,))
    inputs = torch.cat([one for one, _ in given.batches()])
    errors = {
        kept: fitted_by_numpy(model, inputs, list(kept))[2]
        for kept in itertools.combinations(range(5), 4)
    }
    pruned = hwopt.apply(graph, f"prune-channels{{ratio=0.2,{FITTED}}}", given)
    best = list(min(errors, key=errors.get))
    assert torch.equal(pruned.parameter("0.weight"), graph.parameter("0.weight")[best])


def test_channels_that_others_make_up_for_go_without_a_loss():
    """Half of the channels are sums of others: no norm of their weights would tell."""
    torch.manual_seed(0)
    first, last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(8, 5, 3)
    twice = nn.Conv2d(4, 8, 1, bias=False)
    mixed = torch.eye(4)[[1, 2, 3, 0]] * 2 + torch.eye(4)
    twice.weight.data = torch.cat([torch.eye(4), mixed])[:, :, None, None]
    model = nn.Sequential(first, nn.ReLU(), twice, last).eval()
    graph, given = hwopt.import_model(model, torch.randn(1, *IMAGE)), context(IMAGE)
    pruned = hwopt.apply(graph, f"prune-channels{{ratio=0.5,layers=[2],{FITTED}}}", given)
    x = torch.randn(8, *IMAGE)
    scale = graph.to_torch()(x).std()
    assert pruned.parameter("3.weight").shape == (5, 4, 3, 3)
    assert max_difference(pruned.to_torch()(x), graph.to_torch()(x)) < 0.01 * scale
    by_norm = hwopt.apply(graph, "prune-channels{ratio=0.5,layers=[2]}", given)
    assert max_difference(by_norm.to_torch()(x), graph.to_torch()(x)) > 0.1 * scale


LAYERS = [
    (nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2), (4, 15)),
    (nn.Conv1d(4, 6, 3), (4, 1000)),
    (nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(2, 1)), (4, 9, 8)),
    (nn.Conv2d(4, 6, 5, padding=2), (4, 40, 33)),
    (nn.Conv3d(4, 6, (1, 3, 2), padding=(0, 1, 1), dilation=(1, 1, 2)), (4, 3, 7, 8)),
    (nn.Linear(4, 6), (4,)),
    (nn.Linear(4, 6), (500, 4)),
    (nn.Linear(4, 6), (3, 5, 4)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda one: str(one)[:40])
def test_rows_times_weight_are_the_outputs(layer, shape):
    x = torch.randn(3, *shape)
    graph = hwopt.import_model(layer, x)
    (node,) = graph.nodes()
    reader = Reader.of(graph, node)
    rows, outputs = reader.inputs(x), reader.outputs(layer(x))
    assert len(rows) == len(outputs) <= 3 * 225
    expected = rows @ layer.weight.flatten(1).T + layer.bias
    torch.testing.assert_close(expected, outputs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("network", IMAGE_NETWORKS)
def test_fitted_networks_are_nearer_than_carried_ones(network):
    """On the data that they were fitted to."""
    graph, given = hwopt.import_model(make(network), torch.randn(1, *IMAGE)), context(IMAGE)
    inputs = [one for one, _ in given.batches()]
    (output,) = graph.outputs.values()
    errors = []
    for constants in ("bias", "least-squares"):
        text = f"criterion=reconstruction,constants={constants},batches=0"
        pruned = hwopt.apply(graph, f"prune-channels{{ratio=0.4,{text}}}", given)
        assert pruned.macs() < graph.macs()
        pairs = zip(
            values_of(graph, [output], inputs), values_of(pruned, [output], inputs), strict=True
        )
        errors.append(sum(((a - b) ** 2).mean().item() for (a,), (b,) in pairs))
    assert errors[1] < 0.9 * errors[0]


def test_the_sum_of_a_residual_block_is_what_counts():
    graph = hwopt.import_model(make(IMAGE_NETWORKS[0]), torch.randn(1, *IMAGE))
    (conv2,) = (node for node in graph.nodes() if node.name == "conv2")
    (stem,) = (node for node in graph.nodes() if node.name == "stem")
    assert graph.producer(Reader.of(graph, conv2).end).op == "add"
    reader = Reader.of(graph, stem)
    assert reader.end == Value("stem_norm")
    deviation = (graph.parameter("stem_norm.running_var") + 1e-5).sqrt()
    torch.testing.assert_close(reader.scale, graph.parameter("stem_norm.weight") / deviation)


def test_what_is_not_free_is_not_fitted_and_keeps_its_constants():
    _, graph = perceptron()
    graph.set_mask("2.weight", torch.ones(3, 6))
    given = context((4,))
    text = "prune-channels{ratio=0.5,layers=[0],constants=least-squares}"
    fitted = hwopt.apply(graph, text, given)
    carried = hwopt.apply(graph, "prune-channels{ratio=0.5,layers=[0]}", given)
    x = torch.randn(8, 4)
    assert torch.equal(fitted.to_torch()(x), carried.to_torch()(x))
    assert hwopt.apply(graph, f"prune-channels{{layers=[0],{FITTED}}}", given) is graph
    assert given.remarks()[-1].endswith("no layer that could be fitted reads its channels")


class Attended(nn.Module):
    """Queries, keys and values of one layer, of which only values reach another one."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(6, 24), nn.Linear(8, 3)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.out(nn.functional.scaled_dot_product_attention(q, k, v))


class TwoBranches(nn.Module):
    """The first ends in a sum that the second reaches behind an activation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.a, self.b = nn.Conv2d(8, 4, 3), nn.Conv2d(8, 4, 3)

    def forward(self, x):
        x = self.stem(x).relu()
        return self.a(x) + self.b(x).relu()


def errors_of(graph, given, shape, text):
    """Return the share of the variance that is lost on other data, carried and fitted."""
    x = torch.randn(256, *shape, generator=torch.Generator().manual_seed(1))
    goal, found = graph.to_torch().eval()(x), []
    for constants in ("bias", "least-squares"):
        pruned = hwopt.apply(graph, f"prune-channels{{{text},constants={constants}}}", given)
        found.append(((pruned.to_torch().eval()(x) - goal) ** 2).mean() / goal.var())
    return found


def test_channels_that_no_fitted_layer_reads_stay():
    torch.manual_seed(0)
    graph, given = hwopt.import_model(Attended(), torch.randn(2, 5, 6)), context((5, 6))
    pruned = hwopt.apply(graph, f"prune-channels{{ratio=0.5,{FITTED}}}", given)
    assert pruned.parameter("qkv.weight").shape == (20, 6)
    assert torch.equal(pruned.parameter("qkv.weight")[:16], graph.parameter("qkv.weight")[:16])


def test_who_adds_up_to_a_sum_is_fitted_before_the_sum():
    torch.manual_seed(0)
    graph = hwopt.import_model(TwoBranches(), torch.randn(2, *IMAGE))
    carried, fitted = errors_of(graph, context(IMAGE, 8), IMAGE, "ratio=0.5,batches=0")
    assert fitted < 0.7 * carried


def test_of_few_samples_no_more_is_taken_than_they_say():
    """As many unknowns as rows: what fits them best says nothing of others."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 10))
    graph = hwopt.import_model(model, torch.randn(2, 16))
    for samples in (20, 64):
        carried, fitted = errors_of(graph, context((16,), 1, samples), (16,), "ratio=0.5")
        assert fitted < 1.1 * carried


def test_values_far_from_zero_are_fitted_as_well():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    model[0].bias.data += 3.0  # what comes out varies little, near 1
    graph = hwopt.import_model(model, torch.randn(2, 4))
    carried, fitted = errors_of(graph, context((4,), 8), (4,), "ratio=0.25,batches=0")
    assert fitted < 0.5 * carried


def test_a_norm_whose_scale_is_computed_is_not_fitted_through():
    class Computed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
            self.gain = nn.Parameter(torch.ones(4))
            self.register_buffer("mean", torch.zeros(4))
            self.register_buffer("variance", torch.full((4,), 0.1))

        def forward(self, x):
            x = self.last(self.first(x).relu())
            return nn.functional.batch_norm(x, self.mean, self.variance, self.gain.abs())

    graph, given = hwopt.import_model(Computed(), torch.randn(2, *IMAGE)), context(IMAGE)
    text = "prune-channels{ratio=0.5,layers=[first],constants=least-squares}"
    hwopt.apply(graph, text, given)
    assert any("last: not fitted: its constants" in remark for remark in given.remarks())


def test_a_network_over_volumes_is_fitted():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(2, 8, 3), nn.ReLU(), nn.Conv3d(8, 3, (1, 2, 2)))
    graph = hwopt.import_model(model, torch.randn(2, 2, 4, 6, 6))
    shape = (2, 4, 6, 6)
    carried, fitted = errors_of(graph, context(shape), shape, "ratio=0.5,criterion=reconstruction")
    assert fitted < 0.95 * carried


def test_a_batch_that_cannot_change_is_fitted_whole():
    class Fixed(nn.Sequential):
        def forward(self, x):
            return super().forward(x + torch.ones(64, 1))

    torch.manual_seed(0)
    model = Fixed(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    graph = hwopt.import_model(model, torch.randn(64, 4))
    assert graph.inputs["x"].shape == (64, 4)
    given = context((4,))
    pruned = hwopt.apply(graph, f"prune-channels{{ratio=0.25,{FITTED}}}", given)
    assert pruned.parameter("2.weight").shape == (3, 6) and "fitted" in given.remarks()[-1]


@pytest.mark.parametrize("text", ["criterion=reconstruction", "constants=least-squares"])
def test_values_that_are_no_numbers_are_refused(text):
    _, graph = perceptron()
    bad = torch.randn(64, 4)
    bad[3, 1] = torch.nan
    given = Context(batches=lambda: [(bad, None)])
    with pytest.raises(HwoptError, match="at 2 some values are NaN or infinite: look for a sample"):
        hwopt.apply(graph, f"prune-channels{{layers=[0],{text}}}", given)


def test_without_data_it_says_what_is_missing():
    _, graph = perceptron()
    for option in ("criterion=reconstruction", "constants=least-squares"):
        with pytest.raises(HwoptError, match="least squares need data: run the pass in hwopt"):
            hwopt.apply(graph, f"prune-channels{{{option}}}")


def test_a_latency_is_met_with_fitted_layers():
    """The layers that are named lose channels, and what reads them is fitted at the end."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Conv2d(32, 8, 3)]
    graph = hwopt.import_model(nn.Sequential(*layers), torch.randn(1, *IMAGE))
    given = context(IMAGE)
    given.latency = lambda graphs: [one.macs() for one in graphs]
    text = f"prune-to-latency{{share=0.8,layers=[2],{FITTED}}}"
    pruned = hwopt.apply(graph, text, given)
    assert pruned.parameter("0.weight").shape[0] == 32
    assert 0.7 < pruned.macs() / graph.macs() <= 0.8
    assert any("4: fitted" in remark for remark in given.remarks())


class Branches(nn.Module):
    """Two residual blocks, of which the second adds next to nothing."""

    def __init__(self):
        super().__init__()
        self.in1, self.out1 = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 3, 3, padding=1)
        self.in2, self.out2 = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 3, 3, padding=1)
        self.out2.weight.data *= 0.01

    def forward(self, x):
        x = x + self.out1(self.in1(x).relu())
        return x + self.out2(self.in2(x).relu())


@pytest.mark.parametrize(
    "what", ["prune-to-latency{share=0.7", "prune-channels{ratio=0.3,scope=global"]
)
def test_a_branch_that_adds_little_is_narrowed_first(what):
    torch.manual_seed(0)
    graph, given = hwopt.import_model(Branches(), torch.randn(1, *IMAGE)), context(IMAGE)
    given.latency = lambda graphs: [one.macs() for one in graphs]
    pruned = hwopt.apply(graph, f"{what},{FITTED}}}", given)
    left = [pruned.parameter(f"in{n}.weight").shape[0] for n in (1, 2)]
    assert left[0] >= 14 and left[1] <= 8
