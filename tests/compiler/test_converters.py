"""Operators that TVM's importer lacks, against torch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hwopt
from tests.networks import max_difference


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.amax((2, 3)),
        lambda x: x.amax(),
        lambda x: x.amin(1, keepdim=True),
        lambda x: x.prod(2),
        lambda x: x.var((2, 3)),
        lambda x: x.var(1, keepdim=True),
        lambda x: x.var(1, unbiased=False),
        lambda x: x.std((1, 2, 3), keepdim=True),
        lambda x: nn.functional.pad(x, (1, 2, 2, 1), mode="reflect"),
        lambda x: nn.functional.pad(x, (1, 2, 2, 1), mode="replicate"),
        lambda x: nn.functional.instance_norm(x),
        lambda x: nn.functional.group_norm(x, 2),
        lambda x: nn.functional.group_norm(x, 2, torch.arange(4.0), torch.ones(4)),
        lambda x: torch.roll(x, (1, -2), (2, 3)),
    ],
)
def test_compiled_equals_torch(function):
    x = torch.randn(2, 4, 6, 5)
    artifact = hwopt.compile(Call(function), x, trials=0)
    assert max_difference(artifact(x), function(x)) <= 1e-4
