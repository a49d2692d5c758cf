"""Every template agrees with float64 torch, for shapes and choices drawn at random."""

import numpy as np
import pytest
import torch
import tvm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tvm import te, tirx

from hwopt import targets
from hwopt.errors import HwoptError
from hwopt.targets import templates, tvm_build
from hwopt.targets.templates import conv2d, dense, winograd
from hwopt.targets.templates.register_tile import lanes_for

HOST = targets.get("host")
AVX2 = targets.get("x86-avx2")
QUICK = settings(max_examples=25, suppress_health_check=list(HealthCheck))
THOROUGH = settings(QUICK, max_examples=300)


def run(func, template, config, inputs, target):
    """Schedule, build and run a kernel whose last parameter is the result."""
    built = tvm_build.build_kernel(template.schedule(func, config, target), target)
    shape = [int(size) for size in func.params[-1].ty.shape]
    result = tvm.runtime.tensor(np.full(shape, np.nan, "float32"))
    built["main"](*[tvm.runtime.tensor(value) for value in inputs], result)
    return result.numpy()


def assert_close(actual, expected):
    scale = max(1e-6, np.abs(expected).max())
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= 1e-5 * scale


def with_bias_and_relu(result):
    """Append what fusion puts behind a sum: returns the bias's placeholder and the new result."""
    channels = int(result.shape[-1])
    bias = te.placeholder((channels,), "float32", name="bias")
    zero = tirx.const(0.0, "float32")
    relu = te.compute(
        result.shape, lambda *i: tirx.max(result(*i) + bias[i[-1]], zero), name="relu"
    )
    return bias, relu


def choose(data, func, target):
    template = templates.find(func, target)
    space = template.space(func, target)
    return template, data.draw(st.sampled_from(space), label="config")


@st.composite
def convolutions(draw):
    """Draw (input NHWC, kernel HWIO, groups, strides, padding, dilation)."""
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)), label="kernel")
    strides = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)), label="strides")
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)), label="dilation")
    padding = draw(st.tuples(*[st.integers(0, 2)] * 4), label="padding")
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]), label="groups")
    inputs = groups * draw(st.integers(1, 9), label="inputs of a group")
    outputs = groups * draw(st.sampled_from([1, 3, 4, 8, 13, 16, 24, 37, 48]), label="outputs")
    sizes = [
        draw(st.integers(max(1, d * (k - 1) + 1 - before - after), 14), label="size")
        for k, d, before, after in zip(kernel, dilation, padding[:2], padding[2:], strict=True)
    ]
    batch = draw(st.sampled_from([1, 1, 2]), label="batch")
    random = np.random.default_rng(draw(st.integers(0, 99), label="seed"))
    data = random.standard_normal((batch, *sizes, inputs)).astype("float32")
    weight = random.standard_normal((*kernel, inputs // groups, outputs)).astype("float32")
    return data, weight, groups, conv2d.Geometry(strides, padding, dilation)


def expected_convolution(data, weight, groups, geometry, bias):
    top, left, bottom, right = geometry.padding
    x = torch.from_numpy(data).double().permute(0, 3, 1, 2)
    x = torch.nn.functional.pad(x, (left, right, top, bottom))
    w = torch.from_numpy(weight).double().permute(3, 2, 0, 1)
    b = torch.from_numpy(bias).double()
    strides, dilation = geometry.strides, geometry.dilation
    y = torch.nn.functional.conv2d(x, w, b, strides, 0, dilation, groups)
    return torch.relu(y).permute(0, 2, 3, 1).numpy()


def check_convolution(data, target):
    x, weight, groups, geometry = data.draw(convolutions())
    outputs = weight.shape[3]
    source = te.placeholder(x.shape, "float32", name="data")
    if groups == outputs and weight.shape[2] == 1:
        packed = conv2d.pack(weight, 1, lanes_for(outputs, target))[:, :, :, 0]
        packed_tensor = te.placeholder(packed.shape, "float32", name="packed")
        result = conv2d.depthwise(source, packed_tensor, outputs, geometry)
    else:
        packed = conv2d.pack(weight, groups, lanes_for(outputs // groups, target))
        packed_tensor = te.placeholder(packed.shape, "float32", name="packed")
        result = conv2d.convolution(source, packed_tensor, outputs, groups, geometry)
    bias_tensor, relu = with_bias_and_relu(result)
    func = te.create_prim_func([source, packed_tensor, bias_tensor, relu])
    template, config = choose(data, func, target)
    assert template.name == "register-tile"
    bias = np.linspace(-1, 1, outputs, dtype="float32")
    actual = run(func, template, config, [x, packed, bias], target)
    assert_close(actual, expected_convolution(x, weight, groups, geometry, bias))


@QUICK
@given(st.data())
def test_convolution(data):
    check_convolution(data, HOST)


@pytest.mark.slow
@THOROUGH
@given(st.data())
def test_many_convolutions(data):
    check_convolution(data, HOST)


@QUICK
@given(st.data())
def test_convolutions_held_to_avx2(data):
    check_convolution(data, AVX2)


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
    expected = expected_convolution(x, weight, 1, geometry, bias)
    assert_close(run(func, template, config, [x, packed, bias], target), expected)
    assert template.macs(func) == expected.size * 9 * inputs


@QUICK
@given(st.data())
def test_winograd_convolution(data):
    check_winograd(data, HOST)


@pytest.mark.slow
@THOROUGH
@given(st.data())
def test_many_winograd_convolutions(data):
    check_winograd(data, HOST)


@QUICK
@given(st.data())
def test_winograd_convolutions_held_to_avx2(data):
    check_winograd(data, AVX2)


@QUICK
@given(st.data())
def test_depthwise_convolution(data):
    kernel = data.draw(st.integers(1, 5), label="kernel")
    stride = data.draw(st.integers(1, 3), label="stride")
    dilation = data.draw(st.integers(1, 2), label="dilation")
    channels = data.draw(st.integers(1, 40), label="channels")
    size = data.draw(st.integers(dilation * (kernel - 1) + 1, 15), label="size")
    random = np.random.default_rng(0)
    x = random.standard_normal((1, size, size, channels)).astype("float32")
    weight = random.standard_normal((kernel, kernel, 1, channels)).astype("float32")
    padding = kernel // 2
    geometry = conv2d.Geometry((stride,) * 2, (padding,) * 4, (dilation,) * 2)
    packed = conv2d.pack(weight, 1, lanes_for(channels, HOST))[:, :, :, 0]
    source = te.placeholder(x.shape, "float32", name="data")
    packed_tensor = te.placeholder(packed.shape, "float32", name="packed")
    bias_tensor, relu = with_bias_and_relu(
        conv2d.depthwise(source, packed_tensor, channels, geometry)
    )
    func = te.create_prim_func([source, packed_tensor, bias_tensor, relu])
    template, config = choose(data, func, HOST)
    bias = np.linspace(-1, 1, channels, dtype="float32")
    actual = run(func, template, config, [x, packed, bias], HOST)
    assert_close(actual, expected_convolution(x, weight, channels, geometry, bias))


def check_separable(data, target):
    channels = data.draw(st.sampled_from([4, 8, 16, 24, 48]), label="channels")
    outputs = data.draw(st.sampled_from([4, 8, 16, 24, 32, 64]), label="outputs")
    kernel = data.draw(st.sampled_from([1, 3, 5]), label="kernel")
    stride = data.draw(st.integers(1, 3), label="stride")
    height = data.draw(st.integers(1, 17), label="height")
    width = data.draw(st.integers(1, 17), label="width")
    batch = data.draw(st.sampled_from([1, 1, 2]), label="batch")
    random = np.random.default_rng(data.draw(st.integers(0, 99), label="seed"))
    x = random.standard_normal((batch, height, width, channels)).astype("float32")
    first = random.standard_normal((kernel, kernel, 1, channels)).astype("float32")
    second = random.standard_normal((1, 1, channels, outputs)).astype("float32")
    packed_first = conv2d.pack(first, 1, lanes_for(channels, target))[:, :, :, 0]
    packed_second = conv2d.pack(second, 1, lanes_for(outputs, target))
    geometry = conv2d.Geometry((stride,) * 2, (kernel // 2,) * 4, (1, 1))
    plain = conv2d.Geometry((1, 1), (0,) * 4, (1, 1))
    source, one, other = (
        te.placeholder(array.shape, "float32", name=name)
        for name, array in (("data", x), ("first", packed_first), ("second", packed_second))
    )
    bias_tensor, between = with_bias_and_relu(conv2d.depthwise(source, one, channels, geometry))
    result = conv2d.convolution(between, other, outputs, 1, plain)
    func = te.create_prim_func([source, one, bias_tensor, other, result])
    template, config = choose(data, func, target)
    assert template.name == "depthwise-separable"
    bias = np.linspace(-1, 1, channels, dtype="float32")
    actual = run(func, template, config, [x, packed_first, bias, packed_second], target)
    read = expected_convolution(x, first, channels, geometry, bias)
    expected = read @ second[0, 0].astype("float64")
    assert_close(actual, expected)
    assert template.macs(func) == read.size * kernel**2 + expected.size * channels


@QUICK
@given(st.data())
def test_depthwise_separable(data):
    check_separable(data, HOST)


@pytest.mark.slow
@THOROUGH
@given(st.data())
def test_many_depthwise_separable(data):
    check_separable(data, HOST)


@QUICK
@given(st.data())
def test_depthwise_separable_held_to_avx2(data):
    check_separable(data, AVX2)


@QUICK
@given(st.data())
def test_dense(data):
    leading = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3), label="leading")
    inputs = data.draw(st.integers(1, 70), label="inputs")
    outputs = data.draw(st.integers(1, 70), label="outputs")
    random = np.random.default_rng(0)
    x = random.standard_normal((*leading, inputs)).astype("float32")
    weight = random.standard_normal((inputs, outputs)).astype("float32")
    packed = conv2d.pack(weight[None, None], 1, lanes_for(outputs, HOST))[:, 0, 0]
    source = te.placeholder(x.shape, "float32", name="data")
    packed_tensor = te.placeholder(packed.shape, "float32", name="packed")
    bias_tensor, relu = with_bias_and_relu(dense.product(source, packed_tensor, outputs))
    func = te.create_prim_func([source, packed_tensor, bias_tensor, relu])
    template, config = choose(data, func, HOST)
    assert template.name == "register-tile"
    bias = np.linspace(-1, 1, outputs, dtype="float32")
    actual = run(func, template, config, [x, packed, bias], HOST)
    assert_close(actual, np.maximum(x.astype("float64") @ weight.astype("float64") + bias, 0))


@QUICK
@given(st.data())
def test_loops(data):
    shape = data.draw(st.lists(st.integers(1, 70), min_size=1, max_size=3), label="shape")
    axis = data.draw(st.integers(0, len(shape) - 1), label="axis")
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    source = te.placeholder(x.shape, "float32", name="data")
    func = te.create_prim_func([source, tvm.topi.nn.softmax(source, axis)])
    template, config = choose(data, func, HOST)
    assert template.name == "loops"
    expected = torch.softmax(torch.from_numpy(x).double(), axis).numpy()
    assert_close(run(func, template, config, [x], HOST), expected)


@QUICK
@given(st.data())
def test_total_sums(data):
    length = data.draw(st.integers(1, 300), label="length")
    rows = data.draw(st.integers(1, 3), label="rows")
    x = np.random.default_rng(0).standard_normal((rows, length)).astype("float32")
    source = te.placeholder(x.shape, "float32", name="data")
    func = te.create_prim_func([source, tvm.topi.sum(source, axis=1)])
    template, config = choose(data, func, HOST)
    expected = np.abs(x).sum()  # the scale of rounding errors, not of the result
    actual = run(func, template, config, [x], HOST)
    assert np.abs(actual - x.astype("float64").sum(1)).max() <= 1e-6 * expected


def test_large_products_of_two_inputs_are_left_to_the_search():
    a = te.placeholder((64, 64), "float32", name="a")
    b = te.placeholder((64, 64), "float32", name="b")
    func = te.create_prim_func([a, b, tvm.topi.matmul(a, b)])
    assert templates.find(func, HOST) is None
    scheduled = templates.default_schedule(func, HOST)
    assert scheduled.attrs[tvm_build.SCHEDULED]


def test_lanes_waste_little():
    avx512 = targets.get("x86-avx512")
    chosen = {channels: lanes_for(channels, avx512) for channels in (4, 8, 12, 13, 16, 24, 37, 64)}
    assert chosen == {4: 4, 8: 8, 12: 16, 13: 16, 16: 16, 24: 8, 37: 8, 64: 16}


def test_winograd_where_it_saves_more_than_its_transformations_cost():
    avx512 = targets.get("x86-avx512")
    shapes = [(3, 16), (8, 8), (16, 16), (22, 22), (45, 45), (64, 64)]
    chosen = {
        shape: winograd.packing((3, 3, *shape), 16, 16, batch=1, target=avx512) for shape in shapes
    }
    assert chosen[3, 16] is None
    assert chosen[8, 8] == (4, 8, 8) and chosen[22, 22] == (4, 8, 8)
    assert chosen[45, 45] == (4, 16, 16) and chosen[64, 64] == (4, 16, 16)
    assert winograd.packing((5, 5, 64, 64), 16, 16, batch=1, target=avx512) is None


def test_winograd_tiles_are_small_where_images_are_small_and_weights_many():
    avx512 = targets.get("x86-avx512")
    shapes = {(56, 64): 4, (28, 128): 4, (14, 256): 4, (7, 512): 2}
    for (size, channels), tile in shapes.items():
        kernel = (3, 3, channels, channels)
        assert winograd.packing(kernel, size, size, batch=1, target=avx512).tile == tile


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


def test_unknown_template():
    with pytest.raises(HwoptError, match="did you mean 'register-tile'"):
        templates.by_name("register-tyle")
