"""The checks of the card on self-distilled pruning and aligned regularisers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import TensorDataset

import hwopt
from hwopt import train
from hwopt.errors import HwoptError
from hwopt.train import Alignment, SelfDistillation
from hwopt.train.alignment import cosine_misalignment, relative_distance
from hwopt.train.distillation import cosine, cross_correlation, divergence
from tests.networks import IMAGE, Residual, make


def orthonormal(samples=64, width=8):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(samples, width, generator=generator)
    return torch.linalg.qr(features - features.mean(0)).Q


def test_correlation_of_features_with_themselves():
    z = orthonormal()
    assert cross_correlation(z, z).item() == pytest.approx(0, abs=1e-9)
    for weight in (0.0, 5e-3, 1.0):
        assert cross_correlation(-z, z, weight).item() == pytest.approx(32, abs=1e-4)
    scales = torch.linspace(0.1, 9, 8)
    mixed = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    expected = cross_correlation(mixed, z).item()
    assert cross_correlation(mixed * scales, z).item() == pytest.approx(expected, rel=1e-5)


def test_collapsed_and_independent_features():
    column = torch.randn(64, 1, generator=torch.Generator().manual_seed(0)).expand(-1, 8)
    assert cross_correlation(column, column, 0.5).item() == pytest.approx(0.5 * 56, rel=1e-4)
    generator = torch.Generator().manual_seed(2)
    first, second = torch.randn(2, 4000, 8, generator=generator)
    assert cross_correlation(first, second, 1.0).item() == pytest.approx(8, abs=0.3)


def test_a_constant_feature_counts_one_and_gives_no_nan():
    z = orthonormal()
    dead = z.clone()
    dead[:, 3] = 0
    dead.requires_grad_()
    value = cross_correlation(dead, z)
    value.backward()
    assert value.item() == pytest.approx(1, abs=1e-5)
    assert dead.grad.isfinite().all()


def test_the_other_forms():
    z = orthonormal()
    assert cosine(3 * z, z).item() == pytest.approx(0, abs=1e-6)
    assert cosine(-z, z).item() == pytest.approx(2, abs=1e-6)
    assert divergence(z, z).item() == pytest.approx(0, abs=1e-7)
    assert divergence(10 * z, z).item() > 0


def test_alignment_directly_after_magnitude_pruning():
    weight = torch.tensor([[3.0, 4.0]])
    pruned = torch.tensor([[0.0, 4.0]])
    assert 1 - cosine_misalignment(pruned, weight).item() == pytest.approx(0.8)
    assert relative_distance(pruned, weight).item() == pytest.approx(0.6)
    assert cosine_misalignment(weight, weight).item() == pytest.approx(0)
    assert cosine_misalignment(weight * 7, weight).item() == pytest.approx(0)
    assert relative_distance(weight * 7, weight).item() == pytest.approx(6)
    row = torch.tensor([[3, 4, 0.5, -0.5]])
    for kept, expected in ((3, 0.995086), (2, 0.990148), (1, 0.792118)):
        mask = row.abs() >= row.abs().sort(descending=True).values[0, kept - 1]
        if kept == 3:
            mask[0, 3] = False  # a tie
        assert 1 - cosine_misalignment(row * mask, row).item() == pytest.approx(expected, abs=1e-6)
    assert cosine_misalignment(torch.zeros(1, 4), row).item() == 1


@given(st.integers(1, 7), st.integers(0, 100))
def test_the_squares_of_both_sum_to_one(kept, seed):
    weight = torch.randn(1, 8, generator=torch.Generator().manual_seed(seed))
    mask = weight.abs() >= weight.abs().sort(descending=True).values[0, kept - 1]
    cosine_of_row = 1 - cosine_misalignment(weight * mask, weight).item()
    assert cosine_of_row**2 + relative_distance(weight * mask, weight).item() ** 2 == pytest.approx(
        1, abs=1e-5
    )


@pytest.mark.parametrize(("share", "expected"), [(0.1, 0.9997), (0.5, 0.9637), (0.9, 0.6628)])
def test_gaussian_weights(share, expected):
    weight = torch.randn(1, 200_000, generator=torch.Generator().manual_seed(0))
    threshold = weight.abs().flatten().sort().values[int(share * weight.numel())]
    pruned = weight * (weight.abs() >= threshold)
    assert 1 - cosine_misalignment(pruned, weight).item() == pytest.approx(expected, abs=2e-3)
    t = math.sqrt(2) * torch.erfinv(torch.tensor(share)).item()
    energy = 1 - share + 2 * t * math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    assert math.sqrt(energy) == pytest.approx(expected, abs=2e-4)


def data(samples=96):
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(
        torch.randn(samples, *IMAGE, generator=generator), torch.arange(samples) % 4
    )


OPTIONS = {"epochs": 2, "batch_size": 32, "progress": False, "learning_rate": 0.02}


def distance(module, term):
    """Return how far a student is from the teacher of a term, on the data."""
    inputs = data()[:96][0]
    module.eval()
    term.start(module, 96)
    value = term.loss(torch.zeros(()), inputs, module(inputs), None).item()
    term.finish()
    return value


@pytest.fixture
def graph():
    return hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))


def test_where_it_looks_is_learned_with_fewer_channels(graph):
    convolutions = [node.name for node in graph.nodes("conv2d")][1:]
    torch.manual_seed(7)
    other = hwopt.import_model(Residual(), torch.randn(1, *IMAGE))
    pruned = hwopt.apply(other, "prune-channels{ratio=0.5}")
    term = SelfDistillation(graph.to_torch(), "attention", share=1.0, layer=convolutions)
    module = pruned.to_torch()
    first = distance(module, term)
    train.fit(module, data(), terms=[term], **(OPTIONS | {"epochs": 5}))
    assert distance(module, term) < 0.95 * first
    with pytest.raises(HwoptError, match=r"have the shape .*: distil with form kl"):
        mse = SelfDistillation(graph.to_torch(), "mse", layer=convolutions[0])
        train.fit(module, data(), terms=[mse], **OPTIONS)


@pytest.mark.parametrize("form", ["cross-correlation", "cosine", "kl", "mse"])
def test_the_student_comes_nearer_to_its_teacher(graph, form):
    pruned = hwopt.apply(graph, "prune-weights{ratio=0.7}")
    teacher, module = graph.to_torch(), pruned.to_torch()
    before = [tensor.clone() for tensor in teacher.state_dict().values()]
    term = SelfDistillation(teacher, form, share=1.0)
    first = distance(module, term)
    train.fit(module, data(), terms=[term], **(OPTIONS | {"epochs": 5}))
    assert distance(module, term) < 0.95 * first
    for tensor, old in zip(term.teacher.state_dict().values(), before, strict=True):
        assert torch.equal(tensor, old)
    for name, mask in pruned.masks.items():
        assert not module.get_parameter(name)[~mask].any()


def test_without_a_share_it_is_plain_training_bit_for_bit(graph):
    plain, distilled = graph.to_torch(), graph.to_torch()
    train.fit(plain, data(), **OPTIONS)
    train.fit(distilled, data(), terms=[SelfDistillation(graph.to_torch(), share=0.0)], **OPTIONS)
    for first, second in zip(plain.parameters(), distilled.parameters(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["cosine", "frobenius"])
def test_a_strong_alignment_leads_back_to_the_reference(graph, form):
    pruned = hwopt.apply(graph, "prune-weights{ratio=0.5}")
    module = pruned.to_torch()
    with torch.no_grad():
        for name in pruned.masks:
            module.get_parameter(name).add_(0.3 * torch.randn_like(module.get_parameter(name)))
    references = dict(graph.parameters)
    term = Alignment(dict(pruned.masks), references, form, strength=100.0)
    term.start(module, 96)
    far = term.loss(torch.zeros(()), None, None, None).item()
    options = OPTIONS | {"epochs": 20, "learning_rate": 0.02, "weight_decay": 0.0}
    train.fit(module, data(), terms=[term], optimizer="adamw", **options)
    near = term.loss(torch.zeros(()), None, None, None).item()
    term_of_pruned = Alignment(dict(pruned.masks), references, form, strength=100.0)
    term_of_pruned.start(pruned.to_torch(), 96)
    floor = term_of_pruned.loss(torch.zeros(()), None, None, None).item()
    assert floor <= near + 1e-3 and near - floor < 0.7 * (far - floor)


def test_alignment_has_no_gradient_into_masked_entries(graph):
    pruned = hwopt.apply(graph, "prune-weights{ratio=0.5}")
    for form in ("cosine", "frobenius"):
        module = pruned.to_torch()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.1)
        term = Alignment(dict(pruned.masks), dict(graph.parameters), form)
        term.start(module, 1)
        term.loss(torch.zeros(()), None, None, None).backward()
        for name, mask in pruned.masks.items():
            gradient = module.get_parameter(name).grad
            assert not gradient[~mask].any() and gradient[mask].any()


def test_bad_input(graph):
    with pytest.raises(HwoptError, match=r"in \[0, 1\]"):
        SelfDistillation(graph.to_torch(), share=1.5)
    with pytest.raises(HwoptError, match="no linear layer"):
        SelfDistillation(nn.Conv2d(3, 4, 3))
    with pytest.raises(HwoptError, match="no layer 'nothing'"):
        SelfDistillation(graph.to_torch(), layer="nothing").start(graph.to_torch(), 1)
    with pytest.raises(HwoptError, match="at least 0"):
        Alignment({}, {}, strength=-1.0)
    with pytest.raises(HwoptError, match="masked layers, and there are none"):
        Alignment(dict(graph.masks), dict(graph.parameters))
    pruned = hwopt.apply(graph, "prune-weights{ratio=0.5},prune-channels{ratio=0.5}")
    with pytest.raises(HwoptError, match="align networks of the same channels"):
        Alignment(dict(pruned.masks), dict(graph.parameters))
    halved = hwopt.apply(graph, "prune-channels{ratio=0.5}")
    term = SelfDistillation(graph.to_torch())
    with pytest.raises(HwoptError, match="distil with form kl"):
        train.fit(halved.to_torch(), data(), terms=[term], **OPTIONS)
