"""What tests of kernels share: how to choose, run and check one against float64."""

from __future__ import annotations

import numpy as np
import torch
import tvm
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from tvm import te, tirx

from hwopt import targets
from hwopt.targets import host, templates, tvm_build

#: The number of cores here decides nothing.
HOST = targets.get("host", threads=2)
AVX2 = targets.get("x86-avx2", threads=2)
AVX512 = targets.get("x86-avx512", threads=2)
#: What is compiled and run here: this machine, and every x86 target whose instructions it has.
RUNNABLE = [HOST, *(target for target in (AVX2, AVX512) if host.supports(target.isa))]
#: One target for every width of vectors that runs here.
EACH_WIDTH = RUNNABLE[1:] or RUNNABLE
NEON = targets.get("raspberry-pi-4", threads=2)
QUICK = settings(max_examples=15, suppress_health_check=list(HealthCheck))
THOROUGH = settings(QUICK, max_examples=60)


def draw_target(data):
    """Return one of the targets whose code runs here."""
    return data.draw(st.sampled_from(RUNNABLE), label="target")


def choose(data, func, target):
    """Return the template of a kernel, and one of its configurations drawn at random."""
    template = templates.find(func, target)
    return template, data.draw(st.sampled_from(template.space(func, target)), label="config")


def run(scheduled, inputs, target):
    """Build and run a scheduled kernel whose last parameter is the result."""
    built = tvm_build.build_kernel(scheduled, target)
    shape = [int(size) for size in scheduled.params[-1].ty.shape]
    dtype = str(scheduled.params[-1].ty.dtype.dtype)
    unset = np.nan if dtype.startswith("float") else np.iinfo(dtype).max
    result = tvm.runtime.tensor(np.full(shape, unset, dtype))
    built["main"](*[tvm.runtime.tensor(value) for value in inputs], result)
    return result.numpy()


def assert_close(actual, expected, terms):
    """Compare with the float64 result: within 1e-5 of the largest value.

    ``terms`` has the root of the sum of squares of what each result sums: where large terms cancel
    in all results, these are not more exact than the terms.
    """
    assert actual.shape == expected.shape
    scale = max(1e-6, np.abs(expected).max(), terms.max())
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


def convolve(data, weight, groups, geometry):
    """Return the float64 convolution of NHWC data with HWIO weights."""
    top, left, bottom, right = geometry.padding
    x = torch.from_numpy(data).double().permute(0, 3, 1, 2)
    x = torch.nn.functional.pad(x, (left, right, top, bottom))
    w = torch.from_numpy(weight).double().permute(3, 2, 0, 1)
    strides, dilation = geometry.strides, geometry.dilation
    y = torch.nn.functional.conv2d(x, w, None, strides, 0, dilation, groups)
    return y.permute(0, 2, 3, 1).numpy()


def expected_convolution(data, weight, groups, geometry, bias):
    """Return the float64 convolution with bias and ReLU, and its terms for :func:`assert_close`."""
    result = np.maximum(convolve(data, weight, groups, geometry) + bias, 0)
    return result, np.sqrt(convolve(data**2, weight**2, groups, geometry) + bias**2)
