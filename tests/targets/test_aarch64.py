"""Kernels for AArch64 are built here: their assembly multiplies and adds whole vectors."""

import pytest
import torch
from torch import nn

from hwopt.compiler.pipeline import to_kernels, unscheduled
from hwopt.targets import tuner, tvm_build
from hwopt.targets.database import KernelDatabase
from tests.kernels import NEON
from tests.networks import lowered

MODELS = {
    "register-tile": lambda: nn.Conv2d(16, 16, 5, 2, 2),
    "winograd": lambda: nn.Conv2d(16, 16, 3, 1, 1),
    "depthwise-separable": lambda: nn.Sequential(
        nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.ReLU(), nn.Conv2d(16, 16, 1)
    ),
}


@pytest.mark.parametrize("template", MODELS)
def test_kernels_use_vector_multiply_adds(template, tmp_path):
    module = lowered(MODELS[template](), (torch.zeros(1, 16, 12, 12),))
    kernels = unscheduled(to_kernels(module, NEON))
    choices = tuner.choose(kernels, NEON, kernel_trials=0, database=KernelDatabase(NEON, tmp_path))
    (choice,) = [c for c in choices.values() if c.road == f"template:{template}"]
    assembly = tvm_build.build_kernel(choice.func, NEON).inspect_source("asm")
    assert "fmla\tv" in assembly
