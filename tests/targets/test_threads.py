"""The number of threads is that of whoever runs kernels, not of whoever loaded last."""

import dataclasses

import torch

import hwopt
from hwopt import targets
from hwopt.targets import threads
from hwopt.targets.runtime import load_runtime
from tests.networks import IMAGE, Residual, make


def test_artefacts_with_different_threads_keep_their_own():
    used = load_runtime().get_global_func("runtime.NumThreads")
    host = targets.get("host")
    one, two = (
        hwopt.compile(
            make(Residual),
            torch.zeros(1, *IMAGE),
            target=dataclasses.replace(host, threads=count),
            kernel_trials=0,
        )
        for count in (1, 2)
    )
    for artifact in (one, two, one):
        artifact(*artifact.random_inputs())
        assert used() == artifact.threads


def test_other_processes_are_told_all_that_matters():
    told = threads.environment(3)
    assert told["TVM_NUM_THREADS"] == told["OMP_NUM_THREADS"] == "3"
    assert told["TVM_THREAD_POOL_SPIN_COUNT"] == str(threads.SPIN_COUNT)
