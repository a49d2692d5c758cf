from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from hwopt.graph import Graph
from hwopt.passes import Context
from hwopt.passes.sensitivity import connection_sensitivity, gradients
from tests.networks import IMAGE, Residual, make, max_difference


def perceptron(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 4)
    )


def batches(count=3):
    def generate():
        generator = torch.Generator().manual_seed(0)
        for _ in range(count):
            yield torch.randn(8, 12, generator=generator), torch.arange(8) % 4

    return generate


@functools.cache
def imported():
    model = perceptron()
    for parameter in model.parameters():
        nn.init.normal_(parameter)  # all layers alike, so that none is emptied
    return hwopt.import_model(model, torch.randn(1, 12))


@pytest.fixture
def graph():
    return imported()


def used(graph):
    return {name: int(mask.count_nonzero()) for name, mask in graph.masks.items()}


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.35, 0.5, 0.9])
def test_exactly_the_share_is_left(graph, ratio):
    total = 12 * 20 + 20 * 10 + 10 * 4
    pruned = hwopt.apply(graph, f"prune-weights{{ratio={ratio}}}")
    left = sum(used(pruned).values()) if ratio else total
    assert left == round((1 - ratio) * total + 1e-9)
    assert pruned is graph if ratio == 0 else pruned.num_nonzeros() == left + 34


def test_magnitude_keeps_the_largest_of_all_layers_or_of_each(graph):
    names = [f"{i}.weight" for i in (0, 2, 4)]
    everything = torch.cat([graph.parameter(name).abs().flatten() for name in names])
    threshold = everything.sort(descending=True).values[47]
    pruned = hwopt.apply(graph, "prune-weights{ratio=0.9}")
    for name in names:
        assert torch.equal(pruned.masks[name], graph.parameter(name).abs() >= threshold)
    pruned = hwopt.apply(graph, "prune-weights{ratio=0.9,scope=layer}")
    assert used(pruned) == {"0.weight": 24, "2.weight": 20, "4.weight": 4}


@settings(max_examples=20)
@given(st.floats(0.05, 0.9), st.floats(0.05, 0.9))
def test_masks_of_a_higher_ratio_lie_in_those_of_a_lower_one(first, second):
    graph = imported()
    low, high = (f"prune-weights{{ratio={r}}}" for r in sorted((first, second)))
    both = hwopt.apply(graph, [low, high])
    once = hwopt.apply(graph, high)
    assert both.masks.keys() == once.masks.keys()
    for name, mask in hwopt.apply(graph, low).masks.items():
        assert torch.equal(both.masks[name], once.masks[name])
        assert not (both.masks[name] & ~mask).any()


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
        lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
        lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9),
    ],
)
def test_no_optimizer_revives_a_weight(graph, optimizer):
    pruned = hwopt.apply(graph, "prune-weights{ratio=0.8}")
    module = pruned.to_torch()
    steps = optimizer(module.parameters())
    for inputs, targets in batches(20)():
        steps.zero_grad()
        nn.functional.cross_entropy(module(inputs), targets).backward()
        steps.step()
    state = dict(module.named_parameters())
    for name, mask in pruned.masks.items():
        assert not state[name][~mask].any() and state[name][mask].all()
        for tensor in steps.state[state[name]].values():
            if tensor.dim():
                assert not tensor[~mask].any()  # momentum has nothing there either
    trained = pruned.with_weights_of(module)
    assert used(trained) == used(pruned)
    assert trained.parameter("0.weight").abs().sum() != pruned.parameter("0.weight").abs().sum()


def test_what_an_optimizer_writes_by_force_does_not_count(graph):
    pruned = hwopt.apply(graph, "prune-weights{ratio=0.8}")
    module = pruned.to_torch().eval()
    x = torch.randn(3, 12)
    before = module(x)
    with torch.no_grad():
        for name, mask in pruned.masks.items():
            module.get_parameter(name)[~mask] = 7.0
    assert torch.equal(module(x), before)
    assert torch.equal(
        pruned.with_weights_of(module).parameter("0.weight"), pruned.parameter("0.weight")
    )


def test_sensitivity_is_the_gradient_by_a_gate(graph):
    inputs, targets = next(iter(batches()()))
    module = graph.to_torch().eval()
    gates = {n: torch.ones_like(p, requires_grad=True) for n, p in module.named_parameters()}
    gated = {n: p.detach() * gates[n] for n, p in module.named_parameters()}
    loss = nn.functional.cross_entropy(torch.func.functional_call(module, gated, inputs), targets)
    expected = torch.autograd.grad(loss, list(gates.values()))
    (products,) = gradients(graph, Context(batches=batches()), 1)
    for name, gradient in zip(gates, expected, strict=True):
        assert torch.allclose(products[name], gradient, atol=1e-7)
    scores = connection_sensitivity(graph, Context(batches=batches()), 1)
    assert sum(float(s.sum()) for s in scores.values()) == pytest.approx(1)


def test_signed_sums_are_the_same_for_all_layers_without_biases():
    """The bias-free ReLU network is homogeneous in every layer's weight."""
    torch.manual_seed(0)
    layers = [nn.Linear(12, 9, False), nn.ReLU(), nn.Linear(9, 7, False), nn.ReLU()]
    graph = hwopt.import_model(nn.Sequential(*layers, nn.Linear(7, 4, False)), torch.randn(1, 12))
    (products,) = gradients(graph, Context(batches=batches()), 1)
    sums = [float(product.sum()) for product in products.values()]
    assert len(sums) == 3 and max(sums) - min(sums) < 1e-6


def test_batches_are_summed_before_the_absolute_value(graph):
    total = {}
    for products in gradients(graph, Context(batches=batches()), 0):
        for name, product in products.items():
            total[name] = total.get(name, 0) + product
    scores = connection_sensitivity(graph, Context(batches=batches()), 0)
    norm = sum(float(t.abs().sum()) for t in total.values())
    assert torch.allclose(scores["0.weight"], total["0.weight"].abs() / norm)


def test_snip_and_its_unsupervised_form(graph):
    context = Context(batches=batches())
    names = ["0.weight", "2.weight", "4.weight"]
    for criterion, labels in (("snip", "true"), ("unsupervised", "uniform")):
        scores = connection_sensitivity(graph, context, 0, labels=labels)
        flat = torch.cat([scores[name].flatten() for name in names])
        threshold = flat.sort(descending=True).values[47]
        text = f"prune-weights{{ratio=0.9,criterion={criterion},batches=0}}"
        pruned = hwopt.apply(graph, text, context)
        for name in names:
            assert torch.equal(pruned.masks[name], scores[name] >= threshold)


def test_masks_and_weights_of_two_initialisations(graph):
    context = Context(batches=batches())
    text = "prune-weights{ratio=0.7,criterion=snip,biases=true"
    same, other = (hwopt.apply(graph, text + end, context) for end in ("}", ",draw=true}"))
    for name, mask in same.masks.items():
        assert torch.equal(mask, other.masks[name])
        assert torch.equal(other.parameter(name) != 0, mask if mask.dim() > 1 else mask & False)
        kept = same.parameter(name)[mask]
        assert torch.equal(kept, graph.parameter(name)[mask])
        assert not len(kept) or not torch.equal(kept, other.parameter(name)[mask])
    assert sum(used(same).values()) == round(0.3 * (480 + 34))


def test_blocks_go_together(graph):
    pruned = hwopt.apply(graph, "prune-weights{ratio=0.5,block=[4,2],layers=[0,2]}")
    for name in ("0.weight", "2.weight"):
        rows, columns = pruned.masks[name].shape
        whole = pruned.masks[name][: rows // 4 * 4].reshape(rows // 4, 4, columns // 2, 2)
        assert (whole.sum((1, 3)) % 8 == 0).all()
    assert "4.weight" not in pruned.masks
    assert sum(used(pruned).values()) in range(220 - 7, 221)


def test_names_are_chosen_and_excluded(graph):
    context = Context()
    pruned = hwopt.apply(graph, "prune-weights{layers=[0,2,nothing],exclude=[2]}", context)
    assert set(pruned.masks) == {"0.weight"}
    assert str(context.notes[0][1]) == "kept nothing: no layer has such a name"
    assert hwopt.apply(graph, "prune-weights{layers=[nothing]}") is graph


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prune-weights{ratio=1.0}", r"ratio must be in \[0, 1\)"),
        ("prune-weights{block=[4]}", r"block must be \[rows, columns\]"),
        ("prune-weights{block=[0,1]}", r"block must be \[rows, columns\]"),
        ("prune-weights{batches=-1}", "batches must be at least 0"),
        ("prune-weights{criterion=snip}", "the criterion needs data"),
        ("prune-weights{ratio=0.998}", "no weight of .* would be left"),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(graph, text, message):
    before = hwopt.graph.fingerprint.fingerprint(graph)
    with pytest.raises(HwoptError, match=message) as error:
        hwopt.apply(graph, text)
    assert "\n" not in str(error.value)
    assert hwopt.graph.fingerprint.fingerprint(graph) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        ((4, 8), torch.zeros(4, 2).long(), "targets torch.int64 .4, 2. are no classes"),
        ((4, 8), torch.tensor([0, 1, -100, 3]), "label 3, but the model has only 3 outputs"),
        ((4, 8), torch.zeros(4), "targets torch.float32 .4. are no classes"),
        ((4, 9), torch.zeros(4).long(), "inputs of the shape .9., but the model takes ..8.."),
        ((5, 8), torch.zeros(5).long(), "exactly 4 and the data has one of 5"),
    ],
)
def test_data_that_does_not_fit_is_refused(inputs, labels, message):
    model = FourAtOnce() if len(labels) == 5 else nn.Linear(8, 3)
    graph = hwopt.import_model(model, torch.randn(4, 8))
    context = Context(batches=lambda: [(torch.randn(inputs), labels)])
    with pytest.raises(HwoptError, match=message):
        hwopt.apply(graph, "prune-weights{criterion=snip}", context)


class FourAtOnce(nn.Module):
    """A model that takes batches of exactly four."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 3)

    def forward(self, x):
        return self.linear(x.reshape(2, 2, 8)).reshape(4, 3)


def test_files_hold_the_zeros_packed_and_the_masks(graph, tmp_path):
    pruned = hwopt.apply(
        hwopt.import_model(nn.Linear(400, 200), torch.randn(1, 400)), "prune-weights{ratio=0.99}"
    )
    pruned.save(tmp_path)
    size = (tmp_path / "weights.safetensors").stat().st_size
    # 800 values, 200 biases, the entropy of 1 % of 80,000 positions (0.081 bit each), a header.
    assert size < 4 * 1000 + 1.5 * 80_000 * 0.081 / 8 + 500
    loaded = Graph.load(tmp_path)
    assert torch.equal(loaded.masks["weight"], pruned.masks["weight"])
    assert torch.equal(loaded.parameter("weight"), pruned.parameter("weight"))
    # A weight that happens to be zero is not masked for that.
    revived = pruned.copy()
    revived.set_parameter("weight", torch.zeros(200, 400))
    revived.save(tmp_path)
    assert torch.equal(Graph.load(tmp_path).masks["weight"], pruned.masks["weight"])


def test_a_masked_graph_prints_parses_prunes_folds_and_compiles():
    graph = hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))
    pruned = hwopt.apply(
        graph, "prune-weights{ratio=0.6},prune-channels{ratio=0.25},fold-batch-norm"
    )
    assert "parameter conv1.weight: f32[6, 6, 3, 3] masked" in pruned.to_text()
    again = Graph.from_text(pruned.to_text(), pruned.parameters)
    assert torch.equal(again.masks["conv1.weight"], pruned.masks["conv1.weight"])
    assert 0 < used(pruned)["conv1.weight"] < 6 * 6 * 9
    x = torch.randn(1, *IMAGE)
    artifact = hwopt.compile(pruned, kernel_trials=0)
    assert max_difference(artifact(x), pruned.to_torch().eval()(x)) < 1e-4
    assert artifact.graph().masks.keys() == pruned.masks.keys()
