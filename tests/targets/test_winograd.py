"""Winograd convolutions agree with float64 torch, and are chosen where they save time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import te

from hwopt.targets.templates import conv2d, winograd
from hwopt.targets.templates.register_tile import lanes_for
from tests.kernels import (
    AVX512,
    QUICK,
    THOROUGH,
    assert_close,
    choose,
    draw_target,
    expected_convolution,
    run,
    with_bias_and_relu,
)


def check_winograd(data, target):
    inputs, outputs = (data.draw(st.integers(1, 70), label="channels") for _ in range(2))
    padding = data.draw(st.tuples(*[st.integers(0, 2)] * 4), label="padding")
    height = data.draw(st.integers(max(1, 3 - padding[0] - padding[2]), 17), label="height")
    width = data.draw(st.integers(max(1, 3 - padding[1] - padding[3]), 17), label="width")
    batch = data.draw(st.sampled_from([1, 1, 2]), label="batch")
    random = np.random.default_rng(data.draw(st.integers(0, 99), label="seed"))
    x = random.standard_normal((batch, height, width, inputs)).astype("float32")
    weight = random.standard_normal((3, 3, inputs, outputs)).astype("float32")
    input_lanes = data.draw(st.sampled_from([4, target.float_lanes]), label="input lanes")
    tile = data.draw(st.sampled_from(sorted(winograd.TRANSFORMS)), label="tile")
    packing = winograd.Packing(tile, input_lanes, lanes_for(outputs, target))
    packed = winograd.pack(weight, packing)
    source = te.placeholder(x.shape, "float32", name="data")
    packed_tensor = te.placeholder(packed.shape, "float32", name="packed")
    bias_tensor, relu = with_bias_and_relu(
        winograd.convolution(source, packed_tensor, outputs, padding)
    )
    func = te.create_prim_func([source, packed_tensor, bias_tensor, relu])
    template, config = choose(data, func, target)
    assert template.name == "winograd"
    bias = np.linspace(-1, 1, outputs, dtype="float32")
    geometry = conv2d.Geometry((1, 1), padding, (1, 1))
    expected, terms = expected_convolution(x, weight, 1, geometry, bias)
    actual = run(template.schedule(func, config, target), [x, packed, bias], target)
    assert_close(actual, expected, terms)
    assert template.macs(func) == expected.size * 9 * inputs


@pytest.mark.slow
@QUICK
@given(st.data())
def test_winograd_convolution(data):
    check_winograd(data, draw_target(data))


@pytest.mark.slow
@settings(THOROUGH, max_examples=40)  # LLVM takes long for these
@given(st.data())
def test_many_winograd_convolutions(data):
    check_winograd(data, draw_target(data))


def test_winograd_where_it_saves_more_than_its_transformations_cost():
    shapes = [(3, 16), (8, 8), (16, 16), (22, 22), (45, 45), (64, 64)]
    chosen = {
        shape: winograd.packing((3, 3, *shape), 16, 16, batch=1, target=AVX512) for shape in shapes
    }
    assert chosen[3, 16] is None
    assert chosen[8, 8] == (4, 8, 8) and chosen[22, 22] == (4, 8, 8)
    assert chosen[45, 45] == (4, 16, 16) and chosen[64, 64] == (4, 16, 16)
    assert winograd.packing((5, 5, 64, 64), 16, 16, batch=1, target=AVX512) is None


def test_winograd_tiles_are_small_where_images_are_small_and_weights_many():
    shapes = {(56, 64): 4, (28, 128): 4, (14, 256): 4, (7, 512): 2}
    for (size, channels), tile in shapes.items():
        kernel = (3, 3, channels, channels)
        assert winograd.packing(kernel, size, size, batch=1, target=AVX512).tile == tile


@pytest.mark.parametrize("transforms", winograd.TRANSFORMS.values(), ids=lambda t: f"F({t.tile})")
def test_winograd_transforms_give_the_sums_of_a_tile(transforms):
    random = np.random.default_rng(0)
    inputs, weights = random.standard_normal((transforms.points,) * 2), random.random((3, 3))
    to_points = np.array(transforms.inputs(np.eye(transforms.points)))
    to_results = np.array(transforms.results(np.eye(transforms.points)))
    products = (
        transforms.weights @ weights @ transforms.weights.T * (to_points @ inputs @ to_points.T)
    )
    windows = np.lib.stride_tricks.sliding_window_view(inputs, (3, 3))
    expected = np.einsum("yxab,ab->yx", windows, weights)
    np.testing.assert_allclose(to_results @ products @ to_results.T, expected, rtol=1e-12)
