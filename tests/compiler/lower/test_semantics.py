"""What torch computes in odd cases: dtypes, arguments, NaN, empty tensors, indices."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.compiler.lower.beside_torch import check

NAN, INF = math.nan, math.inf
WHOLE = torch.tensor([[-7, 3, 2, 5]])
BYTES = torch.tensor([[250, 3, 7, 200]], dtype=torch.uint8)
TRUTH = torch.tensor([[True, False, True, True]])
ODD = torch.tensor([[NAN, 1.0, INF, -2.0, 0.0, -INF, 0.5, -0.0]])
IMAGE = torch.arange(15.0).reshape(1, 1, 3, 5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 0.5,
        lambda x: x + 1.5,
        lambda x: x / 2,
        lambda x: (x * x) ** 0.5,
        lambda x: x**3,
        lambda x: x // 2,
        lambda x: x % 3,
        lambda x: x.int().cumsum(1),
        lambda x: x.sum(),
        lambda x: x > 2.5,
        lambda x: x.float().to(torch.uint8),
        lambda x: torch.where(x > 2, x, 0.5),
        lambda x: x.max(1),
        lambda x: x.argmin(1),
        lambda x: x.sort(1, descending=True),
        lambda x: -x,
        lambda x: (x.any(1), x.all()),
        lambda x: x << torch.tensor([1, 70, 9, 0]),
        lambda x: (x >> 1, x >> 70),
        lambda x: x.median(1),
        lambda x: torch.linspace(x[0, 1] - 0.4, 5, 8, dtype=torch.int64),
        lambda x: torch.linspace(1, x[0, 2] / 3, 7),
        lambda x: torch.bucketize(x, torch.tensor([2, 3, 3, 5]), right=True),
    ],
)
@pytest.mark.parametrize("x", [WHOLE, BYTES], ids=["int64", "uint8"])
def test_whole_numbers_are_promoted_as_torch_does(function, x):
    check(function, x)


@pytest.mark.slow
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + x,
        lambda x: x * x,
        lambda x: ~x,
        lambda x: x.cumsum(1),
        lambda x: x.sum(1),
        lambda x: torch.maximum(x, x.flip(1)),
        lambda x: torch.minimum(x, x.flip(1)),
        lambda x: torch.fmax(x, x.flip(1)),
        lambda x: (x.amax(1), x.amin(), x.max()),
        lambda x: F.pad(x, (1, 1), value=2),
        lambda x: x.index_add(0, torch.tensor([0, 0]), x.repeat(2, 1)),
        lambda x: x.put(torch.tensor([0, 0]), torch.tensor([True, True]), accumulate=True),
        lambda x: x.any(1),
        lambda x: x.all(),
        lambda x: x == x.flip(1),
        lambda x: x * 2.5,
        lambda x: torch.cat([x, x.flip(1)], 1).float().mean(1),
    ],
)
def test_truth_values(function):
    check(function, TRUTH)


def test_an_image_of_bytes():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.conv(x / 255)

    check(Scaled(), torch.randint(0, 256, (1, 3, 4, 4), dtype=torch.uint8))


@pytest.mark.slow
@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.interpolate(x, size=(2, 7)),
        lambda x: F.interpolate(x, scale_factor=1.7),
        lambda x: F.interpolate(x, size=(7, 4), mode="bilinear"),
        lambda x: F.interpolate(x, scale_factor=(1.0, 1.7), mode="bilinear"),
        lambda x: F.interpolate(x, size=(7, 4), mode="bilinear", align_corners=True),
        lambda x: F.interpolate(x, scale_factor=1.3, mode="bicubic"),
        lambda x: F.interpolate(x, size=(2, 3), mode="bilinear", antialias=True),
        lambda x: F.interpolate(x, size=(2, 7), mode="nearest-exact"),
        lambda x: F.interpolate(x, scale_factor=0.6, mode="area"),
        lambda x: F.avg_pool2d(x, 2, divisor_override=1),
        lambda x: F.avg_pool2d(x, 2, stride=2, padding=1, ceil_mode=True),
        lambda x: F.avg_pool2d(x, 2, padding=1, count_include_pad=False),
        lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True),
        lambda x: F.max_pool2d(x, 3, padding=1),
        lambda x: F.max_pool2d(x, 2, return_indices=True),
        lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
        lambda x: F.adaptive_max_pool2d(x, (2, 3)),
        lambda x: torch.add(x, x.flip(3), alpha=2),
        lambda x: torch.sub(x, x.flip(3), alpha=0.5),
        lambda x: F.celu(x - 7, alpha=0.5),
        lambda x: F.unfold(x, 2),
        lambda x: x.var(unbiased=False),
        lambda x: torch.div(x, -2, rounding_mode="floor"),
        lambda x: F.pad(x, (1, -1, 2, 0), value=3.0),
        lambda x: F.pad(x, (-1, 1, 2, -1), mode="circular"),
        lambda x: F.scaled_dot_product_attention(x[0], x.repeat(2, 1, 1, 1), x + 1),
        lambda x: x[0, 0].masked_scatter(x > 4, x * 2),
        lambda x: F.softmax(x, 3, dtype=torch.float64),
        lambda x: x.double() @ x.double().transpose(2, 3),
    ],
)
def test_every_argument_counts(function):
    check(function, IMAGE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.relu(),
        lambda x: x.clamp(-1, 1),
        lambda x: F.relu6(x),
        lambda x: F.leaky_relu(x),
        lambda x: torch.maximum(x, x.flip(1)),
        lambda x: torch.minimum(x, x.flip(1)),
        lambda x: F.max_pool1d(x[None], 3, padding=1),
        lambda x: x.amax(1),
        lambda x: x.amin(1),
        lambda x: x.max(1),
        lambda x: x.argmax(1),
        lambda x: x.sort(1),
        lambda x: x.topk(3, 1),
        lambda x: x.cummax(1),
        lambda x: x != x,
        lambda x: (x + 1) == (x + 1),
        lambda x: ~(x > 0),
        lambda x: x * 0 + 1,
        lambda x: (x - x) * x,
        lambda x: 0 / x,
        lambda x: x.isnan(),
        lambda x: x.sign(),
        lambda x: x.nansum(),
        lambda x: x.nan_to_num(),
        lambda x: x.softmax(1),
        lambda x: torch.fmax(x, x.flip(1)),
        lambda x: x.median(),
        lambda x: x.nanmedian(1, keepdim=True),
        lambda x: torch.searchsorted(torch.tensor([-1.0, 0.0, 2.0]), x),
    ],
)
def test_nan_and_infinity_pass_through(function):
    check(function, ODD)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.sum(1),
        lambda x: torch.cat([x, torch.ones(2, 3)], 1),
        lambda x: x @ x.transpose(0, 1),
        lambda x: x.reshape(0, 2).flip(1) + 1,
        lambda x: (x * 2, torch.zeros(2) + x.sum()),
    ],
)
def test_empty_tensors(function):
    check(function, torch.zeros(2, 0))


ROWS = torch.tensor([0, 2, 0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.scatter_reduce(0, ROWS[:, None].expand(3, 4), x * 2, "mean"),
        lambda x: x.scatter_reduce(0, ROWS[:, None], x * 2, "mean", include_self=False),
        lambda x: (x > 2).scatter_reduce(0, ROWS[:, None], x > 5, "amax", include_self=False),
        lambda x: x.scatter(1, ROWS[:, None], 3, reduce="multiply"),
        lambda x: x.index_reduce(0, ROWS, x + 1, "amin"),
        lambda x: x.index_reduce(0, ROWS, x + 1, "mean", include_self=False),
        lambda x: x.diagonal_scatter(x[0, :3], 1),
        lambda x: x.as_strided_scatter(x[0, :2], (2,), (5,), 1),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_writing_where_tensors_say(function, dtype):
    check(function, torch.arange(12).reshape(3, 4).to(dtype))


def test_whole_numbers_side_by_side():
    """Of a length that vectors do not divide, some of them between paddings."""
    pairs = ((129, 1, 26), (297, 3, 60))
    inputs = [torch.arange(2 * 2 * n).reshape(2, 2, n) for n, _, _ in pairs]

    def function(*given):
        padded = zip(given, pairs, strict=True)
        return torch.cat([F.pad(x, (0, add)).reshape(2, 2, 5, n) for x, (_, add, n) in padded], 3)

    check(function, *inputs)
