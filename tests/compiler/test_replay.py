"""The first choice for every kernel of a fixed set of models, by hash.

A change that is meant to leave the kernels alone leaves these files alone; any other refreshes them
with ``pytest tests/compiler/test_replay.py --update-golden`` and says so.
"""

import dataclasses
import hashlib

import pytest
import torch

import hwopt
from hwopt import models, targets
from hwopt.compiler.pipeline import to_kernels, unscheduled
from hwopt.compiler.prepare import prepare
from hwopt.targets import tuner
from hwopt.targets.database import KernelDatabase

MACHINE = {"cores": 2, "threads": 2, "l1_bytes": 32768, "l2_bytes": 1048576, "cpu": "any"}
CASES = [
    ("x86-avx512", "resnet8"),
    ("x86-avx512", "ds_cnn"),
    ("x86-avx512", "mobilenet_v1_025"),
    ("x86-avx512", "autoencoder"),
    ("x86-avx2", "resnet8"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("target_name", "model"), CASES)
def test_kernels_did_not_change(target_name, model, golden, tmp_path):
    target = dataclasses.replace(targets.get(target_name), **MACHINE)
    torch.manual_seed(0)
    example = torch.zeros(1, *models.info(model).input_shape)
    graph = hwopt.import_model(models.create(model), example, name=model)
    kernels = unscheduled(to_kernels(prepare(graph, None).lowered(), target))
    choices = tuner.choose(
        kernels, target, kernel_trials=0, database=KernelDatabase(target, tmp_path)
    )
    lines = [
        f"{name} {choice.road} {hashlib.sha256(choice.func.script().encode()).hexdigest()[:16]}"
        for name, choice in sorted(choices.items())
    ]
    golden(f"kernels_{target_name}_{model}.txt", "\n".join(lines) + "\n")
