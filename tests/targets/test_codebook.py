"""Products whose weights are codes, against float64; and when they are chosen."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from tvm import te

import hwopt
from hwopt.targets import tuner
from hwopt.targets.templates import codebook
from hwopt.targets.tuner import ChosenSchedule
from tests.kernels import HOST, QUICK, assert_close, choose, draw_target, run, with_bias_and_relu

pytestmark = pytest.mark.skipif(
    (HOST.isa, HOST.float_lanes) not in codebook.PERMUTATIONS,
    reason="the processor here has no permutation to test",
)


def matrix(inputs, channels, count, seed=0):
    """Return a random matrix of ``count`` distinct values, each of them there."""
    random = np.random.default_rng(seed)
    values = random.standard_normal(count).astype("float32")
    codes = random.permutation(np.arange(inputs * channels) % count)
    return values[codes].reshape(inputs, channels)


@QUICK
@given(st.data())
def test_products_of_codes(data):
    target = draw_target(data)
    leading = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3), label="leading")
    most = codebook.MOST_PERMUTATIONS * target.float_lanes
    count = data.draw(st.integers(1, most), label="distinct values")
    inputs = 8 * data.draw(st.integers(1, 9), label="inputs / 8")
    channels = target.float_lanes * data.draw(st.integers(1, 5), label="blocks")
    weight = matrix(inputs, channels, count)
    words, entries = codebook.encode(weight, target)
    x = np.random.default_rng(1).standard_normal((*leading, inputs)).astype("float32")
    tensors = [te.placeholder(a.shape, str(a.dtype)) for a in (x, words, entries)]
    result = codebook.product(*tensors, channels, target.isa)
    bias_tensor, relu = with_bias_and_relu(result)
    func = te.create_prim_func([*tensors, bias_tensor, relu])
    template, config = choose(data, func, target)
    assert template.name == "register-tile"
    bias = np.linspace(-1, 1, channels, dtype="float32")
    actual = run(template.schedule(func, config, target), [x, words, entries, bias], target)
    expected = np.maximum(x.astype("float64") @ weight.astype("float64") + bias, 0)
    assert_close(actual, expected, np.sqrt(x**2 @ weight**2 + bias**2))
    assert template.macs(func) == int(np.prod(leading)) * inputs * channels


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        ((64, 64), codebook.MOST_PERMUTATIONS * HOST.float_lanes + 1),  # too many values
        ((64, 60), 4),  # channels that fill no vector
        ((63, 64), 4),  # inputs that fill no word
    ],
)
def test_what_does_not_fit_is_not_encoded(shape, count):
    assert codebook.encode(matrix(*shape, count), HOST) is None


def test_codes_take_an_eighth_of_the_bytes():
    words, entries = codebook.encode(matrix(256, 128, 16), HOST)
    assert words.nbytes * 8 == 256 * 128 * 4
    assert entries.nbytes == 16 * 4


@pytest.mark.parametrize(
    ("medians", "expected"), [((2, 1), "b"), ((1.1, 1), "a"), ((1, 2), "a"), ((2, None), "a")]
)
def test_a_kernel_that_is_measured_to_be_well_ahead_is_taken(medians, expected):
    choices = {n: ChosenSchedule(None, "", m, 0) for n, m in zip("ab", medians, strict=True)}
    assert tuner.fastest({"a": None, "b": None}, lambda kernels: choices) == expected


class Spread(nn.Module):
    """A layer whose one row is added to eight."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(256, 128)
        self.register_buffer("rows", torch.randn(8, 128))

    def forward(self, x):
        return torch.relu(self.linear(x)[:1] + self.rows)


@pytest.mark.parametrize("layer", [nn.Sequential(nn.Linear(256, 128), nn.ReLU()), Spread()])
def test_a_layer_compiled_as_codes_computes_the_same(layer, tmp_path, monkeypatch):
    """Whatever follows it; the choice is the tuner's and tested above."""
    monkeypatch.setattr(tuner, "fastest", lambda kernels, choose: "codebook_dense")
    graph = hwopt.apply(hwopt.import_model(layer, torch.zeros(1, 256)), "share-codebook{bits=4}")
    artifact = hwopt.compile(graph, kernel_trials=0, output=tmp_path / "artifact")
    assert any("codebook_dense" in kernel.name for kernel in artifact.manifest.kernels)
    assert (artifact.path / "constants.bin").stat().st_size < 256 * 128 * 4 / 8 + 2**13
    x = torch.randn(1, 256)
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(artifact(x.numpy())), graph.to_torch()(x), atol=1e-5)


def test_without_measurements_weights_are_decoded_when_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("HWOPT_HOME", str(tmp_path))
    graph = hwopt.import_model(nn.Linear(256, 128), torch.zeros(1, 256))
    artifact = hwopt.compile(hwopt.apply(graph, "share-codebook{bits=4}"), kernel_trials=0)
    (kernel,) = artifact.manifest.kernels
    assert kernel.name == "fused_dense_add"
