"""Artefacts called from several threads, in forked processes, and step by step."""

import os
import signal
import threading

import numpy as np
import pytest
import torch
from torch import nn

import hwopt
from hwopt.errors import HwoptError


@pytest.fixture(scope="module")
def parallel():
    """An artefact whose kernels run in two threads, an input, and the output."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(16, 64, 3), nn.ReLU(), nn.Conv2d(64, 8, 3)).eval()
    artifact = hwopt.compile(model, torch.zeros(1, 16, 64, 64), kernel_trials=0)
    x = np.random.default_rng(0).standard_normal((1, 16, 64, 64), dtype=np.float32)
    return artifact, x, artifact(x)


def test_threads_get_their_own_answers():
    artifact = hwopt.compile(nn.Linear(64, 64), torch.zeros(1, 64), kernel_trials=0)
    weight = artifact.graph().parameter("weight").numpy()
    bias = artifact.graph().parameter("bias").numpy()
    wrong = []

    def work(seed):
        random = np.random.default_rng(seed)
        for _ in range(500):
            x = random.standard_normal((1, 64), dtype=np.float32)
            if not np.allclose(artifact(x), x @ weight.T + bias, atol=1e-4):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_forked_process_goes_on(parallel):
    artifact, x, expected = parallel
    for _ in range(3):
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # it would wait for threads that are not there
            same = all(np.array_equal(artifact(x), expected) for _ in range(3))
            os._exit(0 if same else 1)
        assert os.waitpid(child, 0)[1] == 0


class Step(nn.Module):
    """One step of a recurrent layer, as streaming models have it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cell = nn.LSTMCell(6, 5)

    def forward(self, x, h, c):
        return self.cell(x, (h, c))


def test_a_stream_is_the_sequence():
    model = Step().eval()
    zero = torch.zeros(1, 5)
    artifact = hwopt.compile(model, (torch.randn(1, 6), zero, zero), kernel_trials=0)
    states = {"h": "output_0", "c": "output_1"}
    first, second = artifact.stream(states), artifact.stream(states)
    h, c = zero, zero
    for x in torch.randn(10, 1, 6):
        h, c = model(x, h, c)
        assert torch.allclose(first(x)[0], h, atol=1e-5)
    x = torch.randn(1, 6)
    expected = model(x, zero, zero)[0]
    assert torch.allclose(second(x)[0], expected, atol=1e-5)
    first.reset()
    assert torch.allclose(first(x)[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("states", "why"),
    [
        ({"hidden": "output_0"}, "unknown input 'hidden'"),
        ({"h": "out"}, "unknown output 'out'"),
        ({"x": "output_0"}, "it cannot be its next state"),
    ],
)
def test_states_that_do_not_fit_are_named(states, why):
    zero = torch.zeros(1, 5)
    artifact = hwopt.compile(Step().eval(), (torch.randn(1, 6), zero, zero), kernel_trials=0)
    with pytest.raises(HwoptError, match=why):
        artifact.stream(states)
    with pytest.raises(HwoptError, match=r"takes 1 inputs \(x\), not 0"):
        artifact.stream({"h": "output_0", "c": "output_1"})()
