"""Kernels with vectors for RISC-V, in a program of C without TVM's runtime, run by an emulator."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
import torch
from torch import nn

import hwopt
from hwopt import models, targets
from hwopt.compiler.export_c import export_c
from hwopt.targets.c_objects import KERNELS as OBJECTS
from hwopt.targets.pointers import ALIGNMENT
from tests.compiler.of_every_kind import KERNELS, Interpolate, Step, each_schedule, imported, kernel
from tests.devices import needs

pytestmark = needs("an emulated RISC-V")

TARGET = targets.get("riscv64-rvv", threads=1)
COMPILER = "riscv64-linux-gnu-gcc -std=c99 -Wall -Wextra -Werror -O2 -fno-strict-aliasing -static"
EMULATOR = "qemu-riscv64 -cpu rv64,v=true,vlen=256,vext_spec=v1.0"
MAIN = """
#include <stdio.h>
#include "model.h"
static float input[{inputs}] __attribute__((aligned({alignment})));
static float output[{outputs}] __attribute__((aligned({alignment})));
int main(void) {{
  if (fread(input, sizeof *input, {inputs}, stdin) != {inputs}) return 1;
  model_run(input, output);
  return fwrite(output, sizeof *output, {outputs}, stdout) != {outputs};
}}
"""


def check(graph, x, folder):
    """Export a graph, build it, run it, and compare with torch in float64."""
    export_c(graph, x, output=folder, target=TARGET)
    with torch.no_grad():
        expected = graph.to_torch().double().eval()(x.double())
    sizes = {"inputs": x.numel(), "outputs": expected.numel(), "alignment": ALIGNMENT}
    (folder / "main.c").write_text(MAIN.format(**sizes))
    files = f"main.c model.c model_weights.c {OBJECTS} -lm -o model"
    subprocess.run(f"{COMPILER} {files}".split(), cwd=folder, check=True)
    ran = subprocess.run(
        [*EMULATOR.split(), str(folder / "model")],
        input=x.numpy().tobytes(),
        capture_output=True,
        check=True,
        timeout=120,
    )
    found = torch.from_numpy(np.frombuffer(ran.stdout, np.float32).copy())
    assert torch.allclose(found.double(), expected.flatten(), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_network_with_vector_instructions(tmp_path):
    x = torch.randn(1, 1, 28, 28)
    graph = imported(lambda: models.create("resnet8", num_classes=10, input_shape=(1, 28, 28)), x)
    check(graph, x, tmp_path / "c")
    command = ["riscv64-linux-gnu-objdump", "-d", str(tmp_path / "c" / OBJECTS)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert listing.count("vfmacc") > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_schedules_of_every_template(tmp_path, name):
    graph, x = kernel(name)
    for number, _ in enumerate(each_schedule(graph, x, TARGET, name)):
        check(graph, x, tmp_path / str(number))


@pytest.mark.parametrize("model", [Step, Interpolate])
def test_own_operators(tmp_path, model):
    x = torch.randn(1, 8, 9, 7)
    check(imported(model, x), x, tmp_path / "c")


def test_codebooks(tmp_path):
    x = torch.randn(2, 256)
    graph = imported(lambda: nn.Linear(256, 128), x)
    check(hwopt.apply(graph, "share-codebook{bits=4}"), x, tmp_path / "c")


def test_binary_convolutions(tmp_path):
    x = torch.randn(1, 3, 12, 12)
    layers = [nn.Conv2d(3, 40, 3), nn.BatchNorm2d(40), nn.Conv2d(40, 24, 3, padding=1)]
    graph = imported(lambda: nn.Sequential(*layers, nn.BatchNorm2d(24)), x)
    check(hwopt.apply(graph, "binarize{keep_last=false},freeze-binary"), x, tmp_path / "c")
