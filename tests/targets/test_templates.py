"""Every template agrees with float64 torch, for shapes and choices drawn at random."""

import numpy as np
import pytest
import torch
import tvm
from hypothesis import given
from hypothesis import strategies as st
from tvm import te

from hwopt.errors import HwoptError
from hwopt.targets import templates, tvm_build
from hwopt.targets.templates import conv2d, dense
from hwopt.targets.templates.register_tile import lanes_for
from tests.kernels import (
    AVX512,
    EACH_WIDTH,
    HOST,
    QUICK,
    THOROUGH,
    assert_close,
    choose,
    draw_target,
    expected_convolution,
    run,
    with_bias_and_relu,
)


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
    actual = run(template.schedule(func, config, target), [x, packed, bias], target)
    assert_close(actual, *expected_convolution(x, weight, groups, geometry, bias))


@QUICK
@given(st.data())
def test_convolution(data):
    check_convolution(data, draw_target(data))


@pytest.mark.slow
@THOROUGH
@given(st.data())
def test_many_convolutions(data):
    check_convolution(data, draw_target(data))


@pytest.mark.slow
@QUICK
@given(st.data())
def test_depthwise_convolution(data):
    target = draw_target(data)
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
    packed = conv2d.pack(weight, 1, lanes_for(channels, target))[:, :, :, 0]
    source = te.placeholder(x.shape, "float32", name="data")
    packed_tensor = te.placeholder(packed.shape, "float32", name="packed")
    bias_tensor, relu = with_bias_and_relu(
        conv2d.depthwise(source, packed_tensor, channels, geometry)
    )
    func = te.create_prim_func([source, packed_tensor, bias_tensor, relu])
    template, config = choose(data, func, target)
    bias = np.linspace(-1, 1, channels, dtype="float32")
    actual = run(template.schedule(func, config, target), [x, packed, bias], target)
    assert_close(actual, *expected_convolution(x, weight, channels, geometry, bias))


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
    actual = run(
        template.schedule(func, config, target), [x, packed_first, bias, packed_second], target
    )
    read, terms = expected_convolution(x, first, channels, geometry, bias)
    expected = read @ second[0, 0].astype("float64")
    assert_close(actual, expected, np.sqrt(terms**2 @ second[0, 0] ** 2))
    assert template.macs(func) == read.size * kernel**2 + expected.size * channels


@QUICK
@given(st.data())
def test_depthwise_separable(data):
    check_separable(data, draw_target(data))


@pytest.mark.slow
@THOROUGH
@given(st.data())
def test_many_depthwise_separable(data):
    check_separable(data, draw_target(data))


@QUICK
@given(st.data())
def test_dense(data):
    target = draw_target(data)
    leading = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3), label="leading")
    inputs = data.draw(st.integers(1, 70), label="inputs")
    outputs = data.draw(st.integers(1, 70), label="outputs")
    random = np.random.default_rng(0)
    x = random.standard_normal((*leading, inputs)).astype("float32")
    weight = random.standard_normal((inputs, outputs)).astype("float32")
    packed = conv2d.pack(weight[None, None], 1, lanes_for(outputs, target))[:, 0, 0]
    source = te.placeholder(x.shape, "float32", name="data")
    packed_tensor = te.placeholder(packed.shape, "float32", name="packed")
    bias_tensor, relu = with_bias_and_relu(dense.product(source, packed_tensor, outputs))
    func = te.create_prim_func([source, packed_tensor, bias_tensor, relu])
    template, config = choose(data, func, target)
    assert template.name == "register-tile"
    bias = np.linspace(-1, 1, outputs, dtype="float32")
    actual = run(template.schedule(func, config, target), [x, packed, bias], target)
    expected = np.maximum(x.astype("float64") @ weight.astype("float64") + bias, 0)
    assert_close(actual, expected, np.sqrt(x**2 @ weight**2 + bias**2))


@QUICK
@given(st.data())
def test_loops(data):
    target = draw_target(data)
    shape = data.draw(st.lists(st.integers(1, 70), min_size=1, max_size=3), label="shape")
    axis = data.draw(st.integers(0, len(shape) - 1), label="axis")
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    source = te.placeholder(x.shape, "float32", name="data")
    func = te.create_prim_func([source, tvm.topi.nn.softmax(source, axis)])
    template, config = choose(data, func, target)
    assert template.name == "loops"
    expected = torch.softmax(torch.from_numpy(x).double(), axis).numpy()
    assert_close(run(template.schedule(func, config, target), [x], target), expected, expected)


@QUICK
@given(st.data())
def test_total_sums(data):
    target = draw_target(data)
    length = data.draw(st.integers(1, 300), label="length")
    rows = data.draw(st.integers(1, 3), label="rows")
    x = np.random.default_rng(0).standard_normal((rows, length)).astype("float32")
    source = te.placeholder(x.shape, "float32", name="data")
    func = te.create_prim_func([source, tvm.topi.sum(source, axis=1)])
    template, config = choose(data, func, target)
    expected = np.abs(x).sum()  # the scale of rounding errors, not of the result
    actual = run(template.schedule(func, config, target), [x], target)
    assert np.abs(actual - x.astype("float64").sum(1)).max() <= 1e-6 * expected


@pytest.mark.parametrize("target", EACH_WIDTH, ids=lambda target: target.name)
def test_a_chain_of_products_does_not_grow_without_bound(target):
    """Each reads the one before twice: written into one expression they were 2^40."""
    source = value = te.placeholder((3, 70), "float32", name="data")
    for _ in range(40):
        value = tvm.topi.multiply(value, tvm.topi.sigmoid(value))
    func = te.create_prim_func([source, value])
    template = templates.find(func, target)
    scheduled = template.schedule(func, template.space(func, target)[0], target)
    assert len(str(scheduled)) < 100_000


def test_large_products_of_two_inputs_are_left_to_the_search():
    a = te.placeholder((64, 64), "float32", name="a")
    b = te.placeholder((64, 64), "float32", name="b")
    func = te.create_prim_func([a, b, tvm.topi.matmul(a, b)])
    assert templates.find(func, HOST) is None
    scheduled = templates.default_schedule(func, HOST)
    assert scheduled.attrs[tvm_build.SCHEDULED]


def test_lanes_waste_little():
    chosen = {channels: lanes_for(channels, AVX512) for channels in (4, 8, 12, 13, 16, 24, 37, 64)}
    assert chosen == {4: 4, 8: 8, 12: 16, 13: 16, 16: 16, 24: 8, 37: 8, 64: 16}


def test_unknown_template():
    with pytest.raises(HwoptError, match="did you mean 'register-tile'"):
        templates.by_name("register-tyle")
