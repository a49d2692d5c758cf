"""Which channels are the weakest: the criteria, and how many stay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from hwopt.passes import Context
from tests.networks import (
    IMAGE,
    Concat,
    Residual,
    make,
)


def channels(graph, name):
    return graph.parameter(f"{name}.weight").shape[0]


def batches(classes=4):
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        inputs = torch.randn(8, *IMAGE, generator=generator)
        yield inputs, torch.randint(0, classes, (8,), generator=generator)


def test_criteria_that_take_gradients_are_what_they_say():
    """Both are checked against the gradient by a gate on every channel of one layer."""
    model = make(Residual)
    graph = hwopt.import_model(model, torch.randn(1, *IMAGE))
    gate = torch.ones(8, 1, 1, 1, requires_grad=True)
    weight, bias = model.conv1.weight.detach(), model.conv1.bias.detach()
    squares = []
    for inputs, targets in batches():
        parameters = {"conv1.weight": weight * gate, "conv1.bias": bias}
        outputs = torch.func.functional_call(model, parameters, inputs)
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(outputs, targets), gate)
        squares.append(gradient.flatten() ** 2)
    order = torch.stack(squares).mean(0).argsort(descending=True)[:4].sort().values
    pruned = hwopt.apply(
        graph,
        "prune-channels{criterion=taylor,layers=[conv1],batches=0}",
        Context(batches=batches),
    )
    assert torch.equal(pruned.parameter("conv1.weight"), weight[order])

    inputs, targets = next(batches())
    nn.functional.cross_entropy(model(inputs), targets).backward()
    total = sum(
        (p * p.grad).abs().flatten(1).sum(1) if p.dim() > 1 else (p * p.grad).abs()
        for p in (model.conv1.weight, model.conv1.bias, model.norm1.weight, model.norm1.bias)
    )
    reader = model.conv2.weight
    total = total + (reader * reader.grad).abs().sum((0, 2, 3))
    order = total.argsort(descending=True)[:4].sort().values
    text = "prune-channels{criterion=snip,layers=[conv1]}"
    pruned = hwopt.apply(graph, text, Context(batches=batches))
    assert torch.equal(pruned.parameter("conv1.weight"), weight[order])


def test_the_scale_of_a_batch_norm_is_a_criterion():
    model = make(Residual)
    graph = hwopt.import_model(model, torch.randn(1, *IMAGE))
    context = Context()
    pruned = hwopt.apply(graph, "prune-channels{criterion=batch-norm}", context)
    order = model.norm1.weight.detach().abs().argsort(descending=True)[:4].sort().values
    assert torch.equal(pruned.parameter("norm1.weight"), model.norm1.weight.detach()[order])
    graph = hwopt.import_model(make(Concat), torch.randn(1, *IMAGE))
    assert hwopt.apply(graph, "prune-channels{criterion=batch-norm}", context) is graph
    assert "no batch norm scales its channels" in str(context.notes[-3][1])


def test_random_channels_follow_the_seed():
    graph = hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))
    first, same, other = (
        hwopt.apply(graph, "prune-channels{criterion=random}", Context(seed=seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first.parameter("conv1.weight"), same.parameter("conv1.weight"))
    assert not torch.equal(first.parameter("conv1.weight"), other.parameter("conv1.weight"))


@pytest.mark.parametrize(
    ("options", "context", "message"),
    [
        ("criterion=snip", Context(), "the criterion needs data"),
        ("criterion=snip", Context(batches=list), "offers no batch"),
        ("multiple=0", Context(), "none is known here"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(options, context, message):
    graph = hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))
    with pytest.raises(HwoptError, match=message) as error:
        hwopt.apply(graph, f"prune-channels{{{options}}}", context)
    assert "\n" not in str(error.value)


def test_the_weakest_channels_of_the_whole_network_go():
    """Scores count as shares of their group's mean: of 8 channels each the weakest 6 in all."""
    model = nn.Sequential(*(nn.Conv2d(8, 8, 1, bias=False) for _ in range(3)))
    strengths = {"0": [1.0] * 8, "1": [100.0] * 4 + [1.0] * 4, "2": [1.0] * 8}
    with torch.no_grad():
        for name, values in strengths.items():
            weight = torch.tensor(values)[:, None, None, None].expand(8, 8, 1, 1)
            model.get_submodule(name).weight.copy_(weight)
    graph = hwopt.import_model(model, torch.randn(1, 8, 4, 4))
    left = {"0.weight": 8, "1.weight": 4, "2.weight": 8}
    pruned = hwopt.apply(graph, "prune-channels{ratio=0.25,scope=global}")
    assert {name: len(pruned.parameter(name)) for name in left} == left
    by_group = hwopt.apply(graph, "prune-channels{ratio=0.25}")
    assert [len(by_group.parameter(name)) for name in left] == [6, 6, 8]
    kept = hwopt.apply(graph, "prune-channels{ratio=0.25,scope=global,ratios=[1:0.0]}")
    assert [len(kept.parameter(name)) for name in left] == [8, 8, 8]


def test_the_number_kept_is_the_nearest():
    model = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 5, 1), nn.Conv2d(5, 2, 1))
    graph = hwopt.import_model(model, torch.randn(1, 3, 4, 4))
    widths = {}
    for ratio in (0.3, 0.5):
        pruned = hwopt.apply(graph, f"prune-channels{{ratio={ratio}}}")
        widths[ratio] = [len(pruned.parameter(f"{n}.weight")) for n in (0, 1)]
    assert widths == {0.3: [11, 4], 0.5: [8, 3]}
