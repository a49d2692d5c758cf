"""Models and kernels for AArch64, run by an emulator through a tracker: equal to float64.

The emulated system is made of Debian's and Python's packages, which takes half a minute.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

import hwopt
from hwopt import models, passes, targets
from hwopt.passes.route import Route
from hwopt.targets import boards, emulator
from tests.compiler.of_every_kind import KERNELS, Interpolate, Step, each_schedule, imported, kernel
from tests.devices import needs
from tests.farm import farm

pytestmark = [pytest.mark.slow, needs("an emulated AArch64")]


@pytest.fixture(scope="module")
def board():
    """Return the target of an emulated board that a tracker of the tests' own knows."""
    with farm() as found:
        command = emulator.command(emulator.prepare(), "-m", "hwopt.targets.server")
        found.serve(emulator.TARGET, command=tuple(command))
        yield dataclasses.replace(targets.get(emulator.TARGET), tracker=found.tracker)
        boards.release()


def check(graph, board, x):
    """Compile a graph, run it on the board, and compare with torch in float64: within 1e-4."""
    artifact = hwopt.compile(graph, x, target=board, kernel_trials=0)
    with torch.no_grad():
        expected = graph.to_torch().double().eval()(x.double())
    assert artifact.is_remote
    assert torch.allclose(artifact(x).double(), expected, atol=1e-4, rtol=0)
    return artifact


def zoo(name, shape, classes=10):
    return lambda: models.create(name, num_classes=classes, input_shape=shape)


def settled(graph, x):
    """Give batch norms statistics of their own, as training does."""
    module = graph.to_torch().train()
    with torch.no_grad():
        for _ in range(3):
            module(x)
    return graph.with_weights_of(module)


@pytest.mark.parametrize(
    ("name", "shape", "pipeline"),
    [
        ("resnet8", (1, 28, 28), ""),
        ("ds_cnn", (1, 49, 10), ""),
        ("resnet8", (1, 28, 28), "prune-channels{ratio=0.5}"),
        ("resnet8", (1, 28, 28), "binarize,freeze-binary"),
    ],
)
def test_networks(board, name, shape, pipeline):
    x = torch.randn(4, *shape)
    graph = hwopt.apply(settled(imported(zoo(name, shape), x), x), pipeline)
    artifact = check(graph, board, x[:1])
    assert artifact.benchmark(runs=3).emulated
    assert "emulated" in str(artifact.benchmark(runs=3))


def test_a_routed_network_goes_both_ways(board):
    x = torch.randn(8, 1, 28, 28)
    small, large = (imported(zoo("resnet8", (1, 28, 28)), x) for _ in range(2))
    large = hwopt.apply(large, "prune-channels{ratio=0.25}")
    with torch.no_grad():
        scores = torch.log_softmax(small.to_torch().eval()(x), 1)
    entropies = (-(scores.exp() * scores).sum(1)).sort().values
    threshold = float(entropies[3:5].mean())  # between two of them
    route = Route(router="entropy", threshold=threshold)
    graph = route.joined(small, large, passes.Context()).graph
    artifact = hwopt.compile(graph, target=board, kernel_trials=0)
    asked = []
    for one in x:
        with torch.no_grad():
            expected = graph.to_torch().double().eval()(one[None].double())
        assert torch.allclose(artifact(one[None]).double(), expected, atol=1e-4, rtol=0)
        asked.append(bool(artifact.asked))
    assert {*asked} == {True, False}


@pytest.mark.parametrize("name", KERNELS)
def test_schedules_of_every_template(board, name):
    graph, x = kernel(name)
    for us in each_schedule(graph, x, board, name):
        artifact = check(graph, board, x)
        assert us in [kernel.median_us for kernel in artifact.manifest.kernels]


@pytest.mark.parametrize("model", [Step, Interpolate])
def test_own_operators(board, model):
    x = torch.randn(1, 8, 9, 7)
    check(imported(model, x), board, x)


@pytest.mark.parametrize("bits", [4, 8])
def test_codebooks(board, bits):
    x = torch.randn(2, 256)
    graph = imported(lambda: nn.Linear(256, 128), x)
    check(hwopt.apply(graph, f"share-codebook{{bits={bits}}}"), board, x)


def test_binary_convolutions_of_signs_count_bits(board):
    x = torch.randn(1, 3, 12, 12)
    layers = [nn.Conv2d(3, 40, 3), nn.BatchNorm2d(40), nn.Conv2d(40, 24, 3, padding=1)]
    graph = imported(lambda: nn.Sequential(*layers, nn.BatchNorm2d(24)), x)
    graph = hwopt.apply(graph, "binarize{keep_last=false},freeze-binary")
    artifact = check(graph, board, x)
    assert any(kernel.binary for kernel in artifact.manifest.kernels)


def test_candidates_are_timed_there_if_that_is_asked_for(board):
    x = torch.randn(1, 4, 8, 8)
    graph = imported(lambda: nn.Conv2d(4, 8, 3, padding=1), x)
    boards.release()
    artifact = hwopt.compile(graph, x, target=board, kernel_trials=2)
    measured = [kernel for kernel in artifact.manifest.kernels if kernel.candidates_measured]
    assert measured
    assert [kernel.failures for kernel in measured] == [()] * len(measured)
    check(graph, board, x)
