from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from hwopt.graph import Graph
from hwopt.passes import Context
from hwopt.train import Alignment
from tests.networks import IMAGE, Residual, make, max_difference


@pytest.fixture
def graph():
    return hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_every_layer_has_few_values_near_its_own(graph, bits):
    result = hwopt.apply(graph, f"share-codebook{{bits={bits}}}", Context(debug=True))
    assert result.codebooks == {f"{n}.weight" for n in ("stem", "conv1", "conv2", "fc")}
    for name in result.codebooks:
        before, after = graph.parameter(name), result.parameter(name)
        values = after.unique()
        assert len(values) <= 2**bits
        # No value is further from its entry than from any other, but for the last step of k-means.
        nearest = (before.flatten()[:, None] - values).abs().min(1).values
        distance = (before - after).abs().flatten()
        assert (distance <= nearest + 1e-3 + 0.05 * nearest).float().mean() > 0.95


def test_more_bits_are_nearer(graph):
    errors = []
    for bits in (2, 4, 6):
        result = hwopt.apply(graph, f"share-codebook{{bits={bits}}}")
        errors.append((result.parameter("conv1.weight") - graph.parameter("conv1.weight")).norm())
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_training_moves_values_and_keeps_equal_ones_equal(graph, optimizer):
    shared = hwopt.apply(graph, "prune-weights{ratio=0.5},share-codebook{bits=4}")
    module = shared.to_torch()
    steps = optimizer(module.parameters(), lr=0.01, weight_decay=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        steps.zero_grad()
        outputs = module(torch.randn(8, *IMAGE, generator=generator))
        nn.functional.cross_entropy(outputs, torch.arange(8) % 4).backward()
        steps.step()
    trained = shared.with_weights_of(module)
    for name in shared.codebooks:
        before, after = shared.parameter(name), trained.parameter(name)
        assert not torch.equal(before, after)
        assert len(after.unique()) <= len(before.unique())
        for value in before.unique():
            assert len(after[before == value].unique()) == 1
        assert torch.equal(after != 0, trained.masks[name])


def test_zeros_stay_zeros_without_a_mask_too():
    layer = nn.Linear(40, 40, bias=False)
    with torch.no_grad():
        layer.weight[:10] = 0
    shared = hwopt.apply(hwopt.import_model(layer, torch.randn(1, 40)), "share-codebook{bits=2}")
    module = shared.to_torch()
    steps = torch.optim.Adam(module.parameters(), lr=0.01)
    module(torch.ones(2, 40)).sum().backward()
    steps.step()
    assert (
        not module.get_parameter("weight")[:10].any() and module.get_parameter("weight")[10:].all()
    )


def test_copies_of_a_module_keep_equal_values_equal():
    shared = hwopt.apply(
        hwopt.import_model(nn.Linear(40, 40), torch.randn(1, 40)), "share-codebook{bits=2}"
    )
    module = copy.deepcopy(shared.to_torch())
    steps = torch.optim.SGD(module.parameters(), lr=0.01)
    module(torch.randn(3, 40)).square().sum().backward()
    steps.step()
    weight = module.get_parameter("weight")
    assert not torch.equal(weight, shared.parameter("weight"))
    assert len(weight.unique()) == len(shared.parameter("weight").unique()) == 4
    assert set(module.state_dict()) == set(shared.parameters)


def test_an_alignment_keeps_equal_values_equal_too():
    graph = hwopt.import_model(nn.Linear(40, 40), torch.randn(1, 40))
    shared = hwopt.apply(graph, "prune-weights{ratio=0.5},share-codebook{bits=2}")
    alignment = Alignment(dict(shared.masks), dict(graph.parameters))
    module = shared.to_torch()
    alignment.start(module, samples=1)
    output = module(torch.randn(3, 40))
    alignment.loss(output.square().mean(), output, output, None).backward()
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    assert len(module.get_parameter("weight").unique()) == 5  # with zero


def test_files_hold_codes_and_come_back_exactly(tmp_path):
    torch.manual_seed(0)
    graph = hwopt.import_model(nn.Linear(300, 200), torch.randn(1, 300))
    shared = hwopt.apply(graph, "share-codebook{bits=4}")
    shared.save(tmp_path)
    size = (tmp_path / "weights.safetensors").stat().st_size
    assert size < 1.1 * (60_000 * 4 / 8 + 200 * 4) + 600
    loaded = Graph.load(tmp_path)
    assert torch.equal(loaded.parameter("weight"), shared.parameter("weight"))
    assert loaded.codebooks == {"weight"}
    sparse = hwopt.apply(graph, "prune-weights{ratio=0.9},share-codebook{bits=5}")
    sparse.save(tmp_path)
    assert (tmp_path / "weights.safetensors").stat().st_size < 60_000 * (0.1 * 5 + 0.5) / 8 + 1500
    loaded = Graph.load(tmp_path)
    assert torch.equal(loaded.parameter("weight"), sparse.parameter("weight"))
    assert torch.equal(loaded.masks["weight"], sparse.masks["weight"])


def test_artefacts_are_smaller_and_compute_the_same(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    graph = hwopt.import_model(model, torch.randn(1, 256))
    shared = hwopt.apply(graph, "share-codebook{bits=4}")
    sizes = []
    for name, one in (("dense", graph), ("shared", shared)):
        artifact = hwopt.compile(one, kernel_trials=0, output=tmp_path / name)
        x = torch.randn(1, 256)
        assert max_difference(artifact(x), one.to_torch().eval()(x)) <= 1e-4
        sizes.append((tmp_path / name / "constants.bin").stat().st_size)
    assert sizes[1] < 0.25 * sizes[0]


def test_a_batch_norm_is_not_folded_into_a_codebook(graph):
    shared = hwopt.apply(graph, "share-codebook")
    context = Context()
    hwopt.apply(shared, "fold-batch-norm", context)
    assert "has a codebook" in str(context.notes[0][1])
    again = Graph.from_text(shared.to_text(), shared.parameters)
    assert "codebook" in shared.to_text() and again.codebooks == shared.codebooks


def test_bad_input(graph):
    for options, message in (("bits=9", "bits must be from 1 to 8"), ("steps=0", "at least 1")):
        with pytest.raises(HwoptError, match=message):
            hwopt.apply(graph, f"share-codebook{{{options}}}")
    assert hwopt.apply(graph, "share-codebook{layers=[nothing]}") is graph
    with pytest.raises(ValueError, match="distinct values"):
        graph.set_codebook("conv1.weight")
