from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import hwopt
from hwopt.compiler.topk import MOST


class Largest(nn.Module):
    def __init__(self, k: int, axis: int, largest: bool = True):
        super().__init__()
        self.k, self.axis, self.largest = k, axis, largest

    def forward(self, x):
        return tuple(x.topk(self.k, self.axis, self.largest))


@pytest.mark.parametrize(
    ("shape", "k", "axis", "largest"),
    [
        ((2, 10), 10, 1, True),
        ((2, 10), 1, -1, True),
        ((3, 5, 7), 2, 1, True),
        ((3, 5, 7), 4, 2, False),
        ((2, MOST + 1), 3, 1, True),  # by TVM's sort
    ],
)
def test_is_what_torch_finds(shape, k, axis, largest):
    model = Largest(k, axis, largest)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    artifact = hwopt.compile(model, x, kernel_trials=0)
    found = artifact(x)
    for one, wanted in zip(found, model(x), strict=True):
        assert np.array_equal(one, wanted.numpy())
    by_tvm = any(kernel.name == "topk" for kernel in artifact.manifest.kernels)
    assert by_tvm == (shape[axis] > MOST)


def test_equal_and_infinite_numbers():
    x = torch.tensor([[1.0, -torch.inf, 2.0, 2.0, torch.inf, 2.0]])
    values, indices = hwopt.compile(Largest(6, 1), x, kernel_trials=0)(x)
    assert values[0].tolist() == [np.inf, 2, 2, 2, 1, -np.inf]
    assert indices[0].tolist() == [4, 2, 3, 5, 0, 1]  # of equal ones the first comes first


def test_what_nobody_reads_is_not_computed():
    class Values(Largest):
        def forward(self, x):
            return x.topk(self.k, self.axis).values

    kernels = hwopt.compile(Values(2, 1), torch.randn(1, 6), kernel_trials=0).manifest.kernels
    assert {kernel.name for kernel in kernels} == {"topk_places", "topk_values"}
