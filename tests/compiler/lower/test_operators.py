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


attention = nn.functional.scaled_dot_product_attention
FLOAT_MASK = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
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
        lambda x: nn.functional.pixel_shuffle(x, 2),
        lambda x: attention(x, x * 2, x + 1),
        lambda x: attention(x, x * 2, x + 1, scale=0.1),
        lambda x: attention(x, x * 2, x + 1, is_causal=True),
        lambda x: attention(x, x * 2, x + 1, attn_mask=FLOAT_MASK),
        lambda x: attention(x, x * 2, x + 1, attn_mask=FLOAT_MASK > -1),
        lambda x: attention(x, x[:, :2] * 2, x[:, :2] + 1, enable_gqa=True),
        lambda x: attention(x[:, 0], x[:, 1], x[:, 2]),
        lambda x: (x @ x.transpose(-2, -1)).softmax(-1) @ x,
        lambda x: 5 - x,
        lambda x: torch.rsub(x, 3, alpha=2),
        lambda x: x[:, -1] + x.select(1, 2),
        lambda x: x[:, [0, -1]],
        lambda x: x[:, [0, -1], [2, -3]],
        lambda x: x[:, [0, -1], :, [[2], [-3]]],
        lambda x: x[[1], [3]] * x[torch.arange(2)[:, None], [0, 1, 2]],
        lambda x: x.narrow(2, -3, 2),
        lambda x: x[..., -2:],
        lambda x: torch.gather(x, 3, torch.zeros(2, 4, 6, 1, dtype=torch.int64)),
        lambda x: x.index_select(2, torch.tensor([5, 0])),
    ],
)
def test_compiled_equals_torch(function):
    x = torch.randn(2, 4, 6, 5)
    artifact = hwopt.compile(Call(function), x, kernel_trials=0)
    assert max_difference(artifact(x), function(x)) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"stride": 2}, {"dilation": 2}, {"groups": 2, "padding": 1}])
def test_transposed_convolutions_among_convolutions(options):
    torch.manual_seed(0)
    up = nn.ConvTranspose2d(6, 4, 3, **options)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), up, nn.ReLU(), nn.Conv2d(4, 2, 3)).eval()
    x = torch.randn(1, 3, 8, 8)
    assert max_difference(hwopt.compile(model, x, kernel_trials=0)(x), model(x)) <= 1e-4
