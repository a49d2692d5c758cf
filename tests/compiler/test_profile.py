import dataclasses

import numpy as np
import pytest
import torch

import hwopt
from hwopt import models, targets
from hwopt.compiler.profile import profile
from hwopt.report import largest_losses, profile_table
from hwopt.targets.peak import Peak, measure_peak


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    graph = hwopt.import_model(models.create("resnet8"), torch.zeros(1, 3, 32, 32))
    return hwopt.compile(graph, kernel_trials=0, output=tmp_path_factory.mktemp("profile") / "a")


@pytest.mark.slow
def test_every_kernel_is_timed_in_the_running_model(artifact):
    kernels = profile(artifact, Peak(100.0, 1000.0, ((10**9, 10.0),)), runs=5)
    known = {kernel.name for kernel in artifact.manifest.kernels}
    # What is computed at compile time, such as packed weights, is no longer called.
    assert {kernel.name for kernel in kernels} <= known
    assert sum(kernel.macs for kernel in kernels) == artifact.manifest.macs
    assert 0.5 < sum(kernel.share for kernel in kernels) <= 1.0 + 1e-9  # sums of floats
    assert all(kernel.us > 0 and kernel.lost_us <= kernel.us for kernel in kernels)
    first = next(kernel for kernel in kernels if kernel.macs)
    assert first.compute == pytest.approx(2 * first.macs / 100.0 / 1e3 / first.us)


def test_signs_are_set_beside_the_peak_of_bits(tmp_path):
    layers = torch.nn.Sequential(*(torch.nn.Linear(64, 64, bias=False) for _ in range(3)))
    graph = hwopt.import_model(layers, torch.zeros(1, 64))
    binary = hwopt.apply(graph, "binarize,freeze-binary")
    artifact = hwopt.compile(binary, kernel_trials=0, output=tmp_path / "a")
    kernels = profile(artifact, Peak(100.0, 1000.0, ((10**9, 10.0),)), runs=2)
    compute = {"binary" in k.name: k.compute * k.us / k.macs for k in kernels if k.macs}
    assert compute[False] == pytest.approx(10 * compute[True])


def test_profiling_leaves_the_artefact_as_it_was(artifact):
    x = artifact.random_inputs()
    before = artifact(*x)
    profile(artifact, Peak(100.0, 1000.0, ((10**9, 10.0),)), runs=2)
    assert np.array_equal(artifact(*x), before)


def test_the_table_and_the_losses_name_the_kernels(artifact):
    kernels = profile(artifact, Peak(100.0, 1000.0, ((10**9, 10.0),)), runs=2)
    assert profile_table(kernels).row_count == len(kernels)
    worst = max(kernels, key=lambda kernel: kernel.lost_us)
    assert largest_losses(kernels)[0].startswith(worst.name)


def test_the_peak_is_that_of_vector_code():
    host = dataclasses.replace(targets.get("host"), threads=1)
    peak = measure_peak(host)
    # One multiply-add a lane and cycle at 1 GHz is below any processor with vectors.
    assert peak.gflops > 2 * host.float_lanes
    assert peak.binary_gops > peak.gflops
    assert all(bandwidth > 1 for _, bandwidth in peak.bandwidths)
    assert peak.bandwidths[-1][1] < peak.bandwidths[0][1]
