"""Whole numbers in torch: values, gradients, their way through graphs, files and a compiler."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import hwopt
from hwopt.graph import quantized

RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int4": (-8, 7)}


def by_definition(x, scale, zero_point, low, high):
    """Quantize by NumPy: the division in float32, as torch has it, all else in whole numbers."""
    with np.errstate(invalid="ignore"):
        divided = (x / scale).astype(np.float32)
    finite = np.nan_to_num(divided, nan=0.0, posinf=1e30, neginf=-1e30)
    whole = np.rint(np.clip(finite, -1e9, 1e9)).astype(np.int64) + zero_point
    return np.clip(whole, low, high)


@settings(deadline=None)
@given(
    st.lists(st.floats(width=32), min_size=1, max_size=20),
    st.floats(2**-20, 2**20, width=32),
    st.sampled_from(list(RANGES)),
    st.integers(-8, 7),
)
def test_values_are_those_of_the_definition(numbers, scale, name, shift):
    low, high = RANGES[name]
    zero_point = shift + (8 if low == 0 else 0)
    x = np.array(numbers, dtype=np.float32)
    found = quantized.quantize(
        torch.from_numpy(x), torch.tensor(scale), torch.tensor(zero_point), low=low, high=high
    )
    assert found.dtype == (torch.int8 if low < 0 else torch.uint8)
    expected = by_definition(x, np.float32(scale), zero_point, low, high)
    np.testing.assert_array_equal(found.numpy(), expected)
    real = quantized.dequantize(found, torch.tensor(scale), torch.tensor(zero_point))
    np.testing.assert_array_equal(
        real.numpy(), (expected - zero_point).astype(np.float32) * np.float32(scale)
    )


def test_of_two_numbers_as_near_the_even_one_is_taken():
    x = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    found = quantized.quantize(x, torch.tensor(1.0), torch.tensor(0))
    assert found.tolist() == [-2, -2, 0, 0, 2, 2]


@pytest.mark.parametrize("axis", [1, -1])
def test_scales_along_an_axis_are_those_of_its_indices(axis):
    x = torch.randn(2, 3, 3) * 10
    scales, zero_points = torch.tensor([0.1, 0.5, 2.0]), torch.tensor([0, -3, 8])
    found = quantized.quantize(x, scales, zero_points, axis)
    for index in range(3):
        one = quantized.quantize(x.select(axis, index), scales[index], zero_points[index])
        assert torch.equal(found.select(axis, index), one)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_gradients_are_those_of_learned_steps(shape):
    """Esser et al. 2020, equation 3, element by element; straight through between the bounds."""
    torch.manual_seed(0)
    x = (torch.randn(4, 3, 5) * 3).requires_grad_()
    scale = (torch.rand(shape) * 0.05 + 0.05).requires_grad_()
    zero_point = torch.full(shape, 5, dtype=torch.int32)
    weights = torch.randn(4, 3, 5)
    found = quantized.FAKE_QUANTIZE(x, scale, zero_point, 1, -8, 7)
    (found * weights).sum().backward()
    of_scale = torch.zeros(shape)
    for place in np.ndindex(*x.shape):
        step = scale.item() if shape == () else scale[place[1]].item()
        exact = x[place].item() / step
        whole = round(exact)
        inside = -13 <= whole <= 2
        assert x.grad[place].item() == pytest.approx(weights[place].item() * inside)
        each = whole - exact if inside else -13 if whole < -13 else 2
        of_scale[() if shape == () else place[1]] += weights[place].item() * each
    torch.testing.assert_close(scale.grad, of_scale, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["QUANTIZE", "DEQUANTIZE", "FAKE_QUANTIZE"])
def test_torch_accepts_the_operators(name):
    x, scale = torch.randn(2, 3, 4), torch.rand(3) + 0.1
    zero_point = torch.zeros(3, dtype=torch.int32)
    if name == "DEQUANTIZE":
        given = (x.to(torch.int8), scale.requires_grad_(), zero_point)
    else:
        is_fake = name == "FAKE_QUANTIZE"
        given = (x.requires_grad_(is_fake), scale.requires_grad_(is_fake), zero_point, 1, 0, 255)
    torch.library.opcheck(getattr(quantized, name), given)


def test_under_autocast_steps_keep_their_digits():
    x, scale = torch.randn(1000) * 20, torch.tensor(0.3)
    with torch.autocast("cpu", torch.bfloat16):
        found = quantized.QUANTIZE(x, scale, torch.tensor(0))
    assert torch.equal(found, quantized.quantize(x, scale, torch.tensor(0)))


class Net(nn.Module):
    """All three operators, called as torch operators."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([0.5, 0.1, 0.25]))
        self.register_buffer("zero_point", torch.tensor([0, 3, -5], dtype=torch.int32))

    def forward(self, x):
        whole = torch.ops.hwopt.quantize(x, self.scale, self.zero_point)
        real = torch.ops.hwopt.dequantize(whole, self.scale, self.zero_point)
        return (
            whole,
            real,
            torch.ops.hwopt.fake_quantize(x, self.scale, self.zero_point + 5, 1, 0, 255),
        )


def rounding_cases():
    ties = torch.arange(-12, 12).repeat(1, 3, 1) * 0.25
    odd = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0, -0.0, 1e30]).repeat(1, 3, 1)
    return torch.cat([ties, odd, torch.randn(1, 3, 16) * 20], 2)


def test_they_go_through_text_and_files(tmp_path):
    x = rounding_cases()
    graph = hwopt.import_model(Net(), x)
    assert "quantize: i8[N, 3, 46] = quantize(%x, scale=@scale, zero_point=@zero_point)" in str(
        graph.to_text()
    )
    assert "low=0, high=255" in graph.to_text()
    again = hwopt.Graph.from_text(graph.to_text(), graph.parameters)
    graph.save(tmp_path / "net")
    for one in (graph, again, hwopt.Graph.load(tmp_path / "net")):
        for found, expected in zip(one.to_torch()(x), Net()(x), strict=True):
            assert found.dtype == expected.dtype and torch.equal(found, expected)


@pytest.mark.slow
def test_compiled_ones_are_the_same_to_the_bit():
    x = rounding_cases()
    artifact = hwopt.compile(hwopt.import_model(Net().eval(), x), kernel_trials=0)
    for found, expected in zip(artifact(x), Net()(x), strict=True):
        np.testing.assert_array_equal(np.asarray(found), expected.detach().numpy())
