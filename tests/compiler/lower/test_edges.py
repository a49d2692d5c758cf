"""Edges: indices that lie outside, widths that no vector divides, numbers that differ little."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from tests.compiler.lower.beside_torch import Call, check


def test_a_turned_row_that_vectors_do_not_divide():
    check(lambda x: x.flatten(1).roll(1, 1), torch.randn(2, 9, 8))


def test_statistics_that_are_computed():
    def function(x, mean, weight):
        return F.batch_norm(x, mean, mean * mean + 1, weight, None)

    check(function, torch.randn(2, 3, 4, 5), torch.randn(3), torch.randn(3))


@pytest.mark.parametrize("dtype", [torch.int32, torch.float32])
def test_the_same_bits(dtype):
    check(lambda x: x.view(torch.int32).view(dtype), torch.randn(2, 3))


@pytest.mark.parametrize("double", [nn.Linear(4, 3), nn.Conv2d(3, 4, 3, bias=False)])
def test_float64_stays_float64(double):
    x = torch.randn((1, 4) if isinstance(double, nn.Linear) else (1, 3, 6, 6)).double()
    model = double.double()
    found = hwopt.compile(model, x, kernel_trials=0)(x)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, model(x).detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("width", [7, 64, 97, 100, 180])
def test_tables_of_any_width(width):
    check(nn.Embedding(50, width), torch.randint(0, 50, (2, 5)))


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        (lambda i: torch.arange(5.0)[i], [0, -5, 4], [0, 5, 4]),
        (lambda i: torch.arange(5.0).index_select(0, i), [0, 1, 4], [0, -1, 4]),
        (lambda i: torch.arange(5.0).gather(0, i), [0, 1, 4], [0, 1, 9]),
        (lambda i: torch.zeros(5).scatter(0, i, 1.0), [0, 1, 4], [0, 1, 5]),
        (lambda i: F.embedding(i, torch.eye(5)), [0, 1, 4], [0, 1, 10**9]),
    ],
)
def test_an_index_outside_is_one_sentence(function, right, wrong):
    good, bad = torch.tensor(right), torch.tensor(wrong)
    artifact = hwopt.compile(Call(function), good, kernel_trials=0)
    torch.testing.assert_close(artifact(good), function(good))
    with pytest.raises(HwoptError, match=r"an index of .* is outside") as caught:
        artifact(bad)
    assert "\n" not in str(caught.value)
    torch.testing.assert_close(artifact(good), function(good))


class Normed(nn.Module):
    """A norm over channels, rows and columns, behind a convolution and before another."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3)
        self.norm = nn.LayerNorm([8, 6, 6])
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def forward(self, x):
        return self.last(self.norm(self.first(x)))


class Stacked(nn.Module):
    """What has more than four dimensions, behind a convolution."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        y = self.conv(x)
        return torch.stack([y, y * 2, y.relu()], 2).softmax(2).transpose(1, 2).sum(3)


@pytest.mark.parametrize("model", [Normed, Stacked])
def test_behind_convolutions(model):
    check(model(), torch.randn(2, 3, 6, 6))


@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_norms_are_exact_where_numbers_differ_little(shift):
    x = torch.randn(2, 8, 20) + shift
    for norm in (nn.LayerNorm(20), nn.GroupNorm(2, 8), nn.InstanceNorm1d(8)):
        artifact = hwopt.compile(norm.eval(), x, kernel_trials=0)
        expected = norm.double()(x.double()).float()
        # Not more exact than the numbers themselves.
        torch.testing.assert_close(artifact(x), expected, rtol=0, atol=1e-5 * max(1, shift))


@pytest.mark.parametrize("function", [torch.floor_divide, torch.remainder, torch.fmod])
def test_whole_numbers_divided_by_zero_are_one_sentence(function):
    x, good, bad = torch.tensor([7, -7]), torch.tensor([2, 3]), torch.tensor([2, 0])
    artifact = hwopt.compile(Call(function), (x, good), kernel_trials=0)
    torch.testing.assert_close(artifact(x, good), function(x, good))
    with pytest.raises(HwoptError, match="whole numbers are divided by zero"):
        artifact(x, bad)
    with pytest.raises(HwoptError, match="divided by zero cannot be compiled"):
        hwopt.compile(Call(lambda x: function(x, 0)), x, kernel_trials=0)


@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, math.inf])
def test_distances_to_nan(p):
    check(lambda x: torch.cdist(x, x.flip(0), p=p), torch.tensor([[math.nan, 1.0], [2.0, 3.0]]))
