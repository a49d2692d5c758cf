"""Models for GPUs: what can be known of their code without one, and on one that they are right."""

import re
import subprocess

import numpy as np
import pytest
import torch
import tvm
from torch import nn

import hwopt
from hwopt import models, targets
from hwopt.compiler.export_c import export_c
from hwopt.compiler.loading import load
from hwopt.compiler.pipeline import to_kernels, unscheduled
from hwopt.compiler.prepare import prepare
from hwopt.compiler.whole_model import follow
from hwopt.errors import HwoptError
from hwopt.passes import Context
from hwopt.passes.route import Route
from hwopt.targets import gpu, templates, tuner, tvm_build
from tests.compiler.of_every_kind import KERNELS, Interpolate, Step, imported
from tests.compiler.of_every_kind import kernel as kernel_of
from tests.devices import needs
from tests.kernels import HOST

TARGET = targets.get("cuda")
SHAPE = (1, 1, 28, 28)
BOUND = re.compile(r'T\.thread_binding\((?:T\.int64\()?(\d+)\)?, thread="(\w+)\.x"\)')


def resnet8(pipeline=""):
    x = torch.randn(SHAPE)
    make = lambda: models.create("resnet8", num_classes=10, input_shape=SHAPE[1:])  # noqa: E731
    return hwopt.apply(imported(make, x), pipeline), x


def built(graph, x):
    """Return what calls the kernels of a graph, and the kernels for a GPU."""
    module = to_kernels(prepare(graph, x).lowered(), TARGET)
    choices = tuner.choose(unscheduled(module), TARGET, kernel_trials=0)
    assert {choice.road for choice in choices.values()} == {"template:gpu-threads"}
    return follow(module), {name: choice.func for name, choice in choices.items()}


def one_after_the_other(func):
    """Return a kernel of threads as loops: no two threads of these kernels share anything."""
    text, count = BOUND.subn(r"T.serial(T.int64(\1))", func.script(show_meta=True))
    assert count >= 2
    return tvm.script.from_source(text)


def run_here(model, functions, x):
    """Run threads one after the other, on this machine's processor."""
    loops = {name: one_after_the_other(func) for name, func in functions.items()}
    library = tvm_build.build(loops | model.functions(), HOST)
    plan = model.plan
    result = np.full(plan.values[plan.outputs[0]].shape, np.nan, np.float32)
    workspace = np.empty(plan.workspace().bytes, np.uint8)
    arrays = [x.numpy(), result, model.constants, workspace]
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    library["inference"](*tensors)
    return torch.from_numpy(tensors[1].numpy())


def check(graph, x):
    with torch.no_grad():
        expected = graph.to_torch().double().eval()(x.double())
    found = run_here(*built(graph, x), x)
    assert torch.allclose(found.double(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", ["", "prune-channels{ratio=0.5}", "binarize,freeze-binary"])
def test_threads_compute_what_torch_does(pipeline):
    check(*resnet8(pipeline))


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_of_every_kind(name):
    check(*kernel_of(name))


@pytest.mark.slow
@pytest.mark.parametrize("model", [Step, Interpolate])
def test_own_operators(model):
    x = torch.randn(1, 8, 9, 7)
    check(imported(model, x), x)


@pytest.mark.slow
def test_every_size_of_blocks_computes_the_same():
    graph, x = kernel_of("register-tile")
    model, functions = built(graph, x)
    expected = run_here(model, functions, x)
    kernels = unscheduled(to_kernels(prepare(graph, x).lowered(), TARGET))
    template = templates.by_name("gpu-threads")
    (name,) = [name for name in kernels if "conv2d" in name]
    sizes = set()
    for config in template.space(kernels[name], TARGET):
        func = template.schedule(kernels[name], config, TARGET)
        sizes.add(max(int(n) for n, at in BOUND.findall(func.script()) if at == "threadIdx"))
        assert torch.equal(run_here(model, functions | {name: func}, x), expected)
    assert sizes == {64, 128, 256, 512}


def test_every_kernel_is_code_for_the_gpu():
    model, functions = built(*resnet8())
    library = tvm_build.build(functions | model.functions(), TARGET)
    (code,) = [one.inspect_source() for one in library.imports]
    for name, func in functions.items():
        launches = len(re.findall(rf"\b{name}_kernel(?:_\d+)?\(.*\) \{{", code))
        assert launches == func.script().count('thread="blockIdx.x"') > 0
    assert "threadIdx.x" in code and "blockIdx.x" in code


@needs("CUDA's compiler")
@pytest.mark.slow
def test_the_code_is_what_cudas_compiler_takes(tmp_path):
    model, functions = built(*resnet8("binarize,freeze-binary"))
    library = tvm_build.build(functions | model.functions(), TARGET)
    (tmp_path / "model.cu").write_text(library.imports[0].inspect_source())
    command = ["nvcc", "--cubin", "-arch", TARGET.tvm["arch"], "model.cu", "-o", "model.cubin"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert b"fused" in (tmp_path / "model.cubin").read_bytes()


def test_an_artefact_is_made_and_run_where_a_gpu_is(tmp_path):
    graph, x = resnet8()
    artifact = hwopt.compile(graph, x, target="cuda", output=tmp_path / "a")
    assert b"__global__" in (tmp_path / "a" / "model.so").read_bytes() or gpu.is_there()
    loaded = load(tmp_path / "a")
    if gpu.is_there():
        with torch.no_grad():
            expected = graph.to_torch().eval()(x)
        for one in (artifact, loaded):
            assert torch.allclose(one(x), expected, atol=1e-4, rtol=1e-4)
            assert one.benchmark(runs=20).median_ms > 0
        return
    for one in (artifact, loaded):
        with pytest.raises(HwoptError, match="no NVIDIA GPU that TVM can use"):
            one(x)
        with pytest.raises(HwoptError, match="no NVIDIA GPU that TVM can use"):
            one.benchmark()
    assert targets.check(TARGET) == [gpu.NO_GPU]
    with pytest.raises(
        HwoptError, match=r"the GPU cuda is not measured from here: .* or take kernel_trials=0"
    ):
        hwopt.compile(graph, x, target="cuda", kernel_trials=2)


def test_what_a_gpu_cannot_do_is_one_sentence(tmp_path):
    x = torch.randn(1, 1, 8, 8)

    def net(width):
        layers = [nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, 4)]
        return imported(lambda: nn.Sequential(*layers), x)

    small, large = net(2), net(8)
    graph = Route(router="entropy", threshold=0.5).joined(small, large, Context()).graph
    with pytest.raises(HwoptError, match="a model with two ways cannot be compiled for the GPU"):
        hwopt.compile(graph, target="cuda")
    with pytest.raises(HwoptError, match="target cuda is a GPU, and C is for processors"):
        export_c(nn.Linear(2, 2), torch.zeros(1, 2), output=tmp_path / "c", target="cuda")
    path = tmp_path / "mine.toml"
    path.write_text(TARGET.to_toml().replace('runner = "none"', 'runner = "rpc"\nkey = "k"', 1))
    path.write_text(re.sub(r'^key = ""\n', "", path.read_text(), flags=re.MULTILINE))
    with pytest.raises(HwoptError, match="a GPU is used where it is found"):
        targets.get(path)
