"""Large results are fetched before they are written; nothing else about a kernel changes."""

import numpy as np
import pytest
import tvm
from tvm import te

from hwopt import targets
from hwopt.targets import templates, tvm_build
from hwopt.targets.templates import conv2d

AVX512 = targets.get("x86-avx512")
HOST = targets.get("host")


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


def test_a_kernel_that_fetches_computes_the_same():
    func, x, packed, expected = pointwise(128, 63, 48)
    built = tvm_build.build_kernel(schedule(func, HOST), HOST)
    result = tvm.runtime.tensor(np.full(expected.shape, np.nan, "float32"))
    built["main"](tvm.runtime.tensor(x), tvm.runtime.tensor(packed), result)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5, atol=1e-5)
