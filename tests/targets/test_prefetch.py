"""Large results are fetched before they are written; nothing else about a kernel changes."""

import dataclasses

import numpy as np
import pytest
from tvm import te

from hwopt.targets import templates
from hwopt.targets.templates import conv2d, winograd
from tests.kernels import AVX512, HOST, RUNNABLE, assert_close, run

ONE_THREAD = dataclasses.replace(HOST, threads=1)


def pointwise(rows, columns, channels):
    """Return a 1x1 convolution of 8 channels, and its inputs."""
    random = np.random.default_rng(0)
    x = random.standard_normal((1, rows, columns, 8)).astype("float32")
    weight = random.standard_normal((1, 1, 8, channels)).astype("float32")
    packed = conv2d.pack(weight, 1, 16)
    sources = [te.placeholder(array.shape, "float32") for array in (x, packed)]
    geometry = conv2d.Geometry((1, 1), (0, 0, 0, 0), (1, 1))
    result = conv2d.convolution(*sources, channels, 1, geometry)
    return te.create_prim_func([*sources, result]), x, packed, x @ weight[0, 0]


def schedule(func, target):
    template = templates.find(func, target)
    return template.schedule(func, template.space(func, target)[0], target)


@pytest.mark.parametrize(("rows", "fetched"), [(8, False), (128, True)])
def test_only_results_larger_than_half_of_the_second_cache_are_fetched(rows, fetched):
    func, *_ = pointwise(rows, 64, 32)
    assert ("prefetch" in schedule(func, AVX512).script()) == fetched


def test_every_line_of_a_tile_is_fetched_once():
    func, *_ = pointwise(128, 64, 32)
    template = templates.find(func, AVX512)
    config = template.space(func, AVX512)[0]
    lines = template.schedule(func, config, AVX512).script().count("T.prefetch(")
    assert lines == config["rows"] * config["columns"] * config["blocks"]


@pytest.mark.parametrize("target", RUNNABLE, ids=lambda target: target.name)
def test_a_kernel_that_fetches_computes_the_same(target):
    func, x, packed, expected = pointwise(128, 63, 48)
    actual = run(schedule(func, target), [x, packed], target)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def convolution(channels):
    """Return a Winograd convolution of 6x6 pixels, and its inputs."""
    random = np.random.default_rng(0)
    x = random.standard_normal((1, 6, 6, channels)).astype("float32")
    weight = random.standard_normal((3, 3, channels, channels)).astype("float32")
    packed = winograd.pack(weight, winograd.Packing(4, 8, 8))
    sources = [te.placeholder(array.shape, "float32") for array in (x, packed)]
    result = winograd.convolution(*sources, channels, (0, 0, 0, 0))
    windows = np.lib.stride_tricks.sliding_window_view(x[0], (3, 3), axis=(0, 1))
    expected = np.einsum("yxcab,abco->yxo", windows.astype("float64"), weight)[None]
    return te.create_prim_func([*sources, result]), x, packed, expected


@pytest.mark.parametrize(
    ("channels", "target", "fetched"),
    [(16, ONE_THREAD, False), (128, ONE_THREAD, True), (128, HOST, False)],
    ids=["few weights", "many weights", "several threads"],
)
def test_weights_are_fetched_where_there_are_many_and_one_thread(channels, target, fetched):
    func, x, packed, expected = convolution(channels)
    target = dataclasses.replace(target, l2_bytes=2**20)
    scheduled = schedule(func, target)
    assert ("prefetch" in scheduled.script()) == fetched
    assert_close(run(scheduled, [x, packed], target), expected, np.abs(expected))
