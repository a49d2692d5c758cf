"""Binary kernels count exactly what float64 sums; and what instructions they are made of."""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwopt.targets import templates, tvm_build
from hwopt.targets.templates import binary
from hwopt.targets.templates.binary_layer import BinaryLayer
from hwopt.targets.templates.conv2d import Geometry
from hwopt.targets.templates.register_tile_space import WORD_BITS
from tests.kernels import (
    AVX2,
    AVX512,
    NEON,
    QUICK,
    THOROUGH,
    choose,
    convolve,
    draw_target,
    run,
)


def signs(values):
    """Return +1 where a value is at least 0, else -1."""
    return np.where(values >= 0, 1.0, -1.0)


def packed(values):
    """Return the signs of ``[..., channels]``, which fill words, as words."""
    bits = (values < 0).reshape(*values.shape[:-1], -1, WORD_BITS)
    return (bits << np.arange(WORD_BITS, dtype="uint32")).sum(-1, dtype="uint32")


def random_numbers(shape, seed):
    """Return numbers of which some are zero, of both signs."""
    random = np.random.default_rng(seed)
    values = random.standard_normal(shape).astype("float32")
    values[random.random(shape) < 0.1] = 0.0
    values[random.random(shape) < 0.1] = -0.0
    return values


@pytest.mark.slow
@THOROUGH
@given(st.data())
def test_convolutions_are_exact(data):
    target = draw_target(data)
    kernel_h, kernel_w = (data.draw(st.integers(1, 4), label="kernel") for _ in range(2))
    geometry = Geometry(
        tuple(data.draw(st.integers(1, 3), label="stride") for _ in range(2)),
        tuple(data.draw(st.integers(0, 3), label="padding") for _ in range(4)),
        tuple(data.draw(st.integers(1, 2), label="dilation") for _ in range(2)),
    )
    least = [d * (k - 1) + 1 for d, k in zip(geometry.dilation, (kernel_h, kernel_w), strict=True)]
    sizes = [
        data.draw(st.integers(max(1, n - sum(geometry.padding[axis::2])), n + 4), label="size")
        for axis, n in enumerate(least)
    ]
    batch = data.draw(st.integers(1, 2), label="batch")
    inputs = data.draw(st.integers(1, 70), label="inputs")
    channels = data.draw(st.integers(1, 40), label="channels")
    weight = signs(random_numbers((kernel_h, kernel_w, inputs, channels), 0)).astype("float32")
    x = random_numbers((batch, *sizes, inputs), 1)
    thresholds = random_numbers((inputs,), 2)
    layer = BinaryLayer(x.shape, weight, geometry, thresholds)
    func, constants = layer.kernel(target)
    template, config = choose(data, func, target)
    assert template.name == "register-tile"
    actual = run(template.schedule(func, config, target), [x, *constants], target)
    assert np.array_equal(actual, convolve(signs(x - thresholds), weight, 1, geometry))


@QUICK
@given(st.data())
def test_signs_are_read_and_written_exactly(data):
    """With a window of one as a convolution and as a product."""
    target = draw_target(data)
    taps = data.draw(st.integers(1, 3), label="kernel")
    padding = tuple(data.draw(st.integers(0, 2), label="padding") for _ in range(4))
    strides = (data.draw(st.integers(1, 2), label="stride"), 1)
    geometry = Geometry(strides, padding, (1, 1))
    sizes = [data.draw(st.integers(taps, taps + 5), label="size") for _ in range(2)]
    inputs, channels = (32 * data.draw(st.integers(1, 4), label="words") for _ in range(2))
    is_product = taps == 1 and data.draw(st.booleans(), label="product")
    weight = signs(random_numbers((taps, taps, inputs, channels), 0)).astype("float32")
    x = signs(random_numbers((1, *sizes, inputs), 1))
    sums = x @ weight[0, 0] if is_product else convolve(x, weight, 1, geometry)
    least = np.random.default_rng(2).integers(-40, 40, channels)
    layer = BinaryLayer(x.shape, weight, None if is_product else geometry, None, least)
    func, constants = layer.kernel(target)
    template, config = choose(data, func, target)
    assert template.name == "register-tile"
    words = run(template.schedule(func, config, target), [packed(x), *constants], target)
    assert np.array_equal(words, packed(sums - least))
    assert template.macs(func) == sums.size * weight[..., 0].size


@pytest.mark.slow
@QUICK
@given(st.data())
def test_products_are_exact(data):
    target = draw_target(data)
    leading = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3), label="leading")
    inputs = data.draw(st.integers(1, 100), label="inputs")
    channels = data.draw(st.integers(1, 70), label="channels")
    weight = signs(random_numbers((inputs, channels), 0)).astype("float32")
    x = random_numbers((*leading, inputs), 1)
    thresholds = random_numbers((inputs,), 2)
    func, constants = BinaryLayer(x.shape, weight[None, None], None, thresholds).kernel(target)
    template, config = choose(data, func, target)
    actual = run(template.schedule(func, config, target), [x, *constants], target)
    assert np.array_equal(actual, signs(x - thresholds) @ weight)
    assert template.macs(func) == np.prod(leading) * channels * inputs


VPOPCNTDQ = dataclasses.replace(AVX512, tvm={**AVX512.tvm, "mattr": ["+avx512vpopcntdq"]})
INSTRUCTIONS = {
    "vpopcntdq": (VPOPCNTDQ, r"vpopcntd\s+%zmm"),
    "avx512": (AVX512, r"vpshufb\s.*%zmm"),
    "avx2": (AVX2, r"vpshufb\s.*%ymm"),
    "neon": (NEON, r"cnt\s+v\d+\.16b"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_whole_vectors_are_counted(name):
    """Built for processors that need not be the one here."""
    target, pattern = INSTRUCTIONS[name]
    geometry = Geometry((1, 1), (1, 1, 1, 1), (1, 1))
    kernel = signs(random_numbers((3, 3, 64, 64), 0))
    numbers = BinaryLayer((1, 8, 8, 64), kernel, geometry, np.zeros(64, "float32"))
    words = BinaryLayer((1, 8, 8, 64), kernel, geometry, None, np.zeros(64, int))
    for layer in (numbers, words):
        func, _ = layer.kernel(target)
        template = templates.find(func, target)
        scheduled = template.schedule(func, template.space(func, target)[0], target)
        assembly = tvm_build.build_kernel(scheduled, target).inspect_source("asm")
        assert re.search(pattern, assembly)
        if target is not NEON:
            assert "vmovmskps" in assembly


def test_words_are_written_where_registers_hold_their_sums():
    sse = dataclasses.replace(AVX2, isa="sse", vector_bits=128)
    kernel = np.ones((1, 1, 32, 64), "float32")
    layers = [BinaryLayer((1, 32), kernel[..., :channels], None, None) for channels in (64, 40)]
    assert [layers[0].can_write_signs(t) for t in (AVX512, AVX2, NEON, sse)] == [True] * 3 + [False]
    assert not layers[1].can_write_signs(AVX512)


def test_a_bit_a_weight():
    kernel = signs(random_numbers((3, 3, 64, 64), 0))
    assert binary.pack(kernel, 16).nbytes == kernel.size / 8


@pytest.mark.parametrize(("weights", "expected"), [((1, -1), True), ((1, 0), False)])
def test_what_is_binary(weights, expected):
    assert binary.is_binary(np.array(weights, "float32")) is expected
