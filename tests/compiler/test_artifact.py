from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from hwopt.files import SEAL, write_sealed_json
from hwopt.graph import Graph
from tests.networks import (
    IMAGE,
    IMAGE_NETWORKS,
    Residual,
    SeveralOutputs,
    Tied,
    make,
    max_difference,
)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    model = make(Residual)
    folder = tmp_path_factory.mktemp("artifact") / "a"
    return hwopt.compile(model, torch.randn(1, *IMAGE), kernel_trials=0, output=folder)


@pytest.fixture
def copy(artifact, tmp_path):
    return Path(shutil.copytree(artifact.path, tmp_path / "copy"))


@pytest.mark.slow
@pytest.mark.parametrize("network", IMAGE_NETWORKS)
@pytest.mark.parametrize("passes", ["", "prune-channels"])
def test_the_artefact_computes_what_torch_computes(network, passes):
    graph = hwopt.apply(hwopt.import_model(make(network), torch.randn(1, *IMAGE)), passes)
    artifact = hwopt.compile(graph, kernel_trials=0)
    module = graph.to_torch().eval()
    for seed in range(3):
        x = torch.randn(1, *IMAGE, generator=torch.Generator().manual_seed(seed))
        assert max_difference(artifact(x), module(x).detach()) <= 1e-4


def test_numpy_in_numpy_out_and_torch_in_torch_out(artifact):
    x = torch.randn(1, *IMAGE)
    from_torch, from_numpy = artifact(x), artifact(x.numpy())
    assert isinstance(from_torch, torch.Tensor) and isinstance(from_numpy, np.ndarray)
    assert np.array_equal(from_torch.numpy(), from_numpy)
    strided = np.asfortranarray(x.numpy())
    assert np.array_equal(artifact(strided), from_numpy)


def test_results_of_earlier_calls_stay(artifact):
    first = artifact(torch.zeros(1, *IMAGE))
    kept = first.clone()
    artifact(torch.ones(1, *IMAGE) * 9)
    assert torch.equal(first, kept)


def test_several_inputs_outputs_and_dtypes():
    model = make(SeveralOutputs)
    inputs = (torch.randn(2, 6), torch.randn(2, 2))
    artifact = hwopt.compile(model, inputs, kernel_trials=0)
    left, values, indices = artifact(*inputs)
    expected = model(*inputs)
    assert torch.allclose(left, expected["left"], atol=1e-5)
    assert torch.allclose(values, expected["best"][0], atol=1e-5)
    assert indices.dtype == torch.int64 and torch.equal(indices, expected["best"][1])


class Passing(nn.Module):
    """Outputs that are an input, a constant, and one result twice."""

    def forward(self, x):
        y = torch.relu(x)
        return x, torch.ones(2), y, y, y.sum()


def test_outputs_need_not_be_results_of_their_own():
    x = torch.randn(3, 2)
    artifact = hwopt.compile(Passing(), x, kernel_trials=0)
    for got, expected in zip(artifact(x), Passing()(x), strict=True):
        assert torch.allclose(got, expected, atol=1e-6)


def test_kernels_one_by_one_compute_the_same(artifact):
    inputs = artifact.random_inputs()
    expected = artifact(*inputs)
    calls = list(artifact.kernel_calls(artifact.random_inputs(seed=1)))
    assert [name for name, _ in calls] == [call.kernel for call in artifact.manifest.plan.calls]
    assert not np.array_equal(artifact(*artifact.random_inputs(seed=1)), expected)
    list(artifact.kernel_calls(inputs))  # sets the inputs, which all share
    for _, call in calls:
        call()
    (number,) = artifact.manifest.plan.outputs
    assert np.array_equal(artifact._machine.memory.arrays[number], expected)


def test_integer_inputs():
    model = nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 3))
    tokens = torch.randint(0, 10, (1, 5))
    artifact = hwopt.compile(model, tokens, kernel_trials=0)
    assert max_difference(artifact(tokens), model(tokens).detach()) <= 1e-5


def test_shared_weights():
    model, x = make(Tied), torch.randn(1, 6)
    assert max_difference(hwopt.compile(model, x, kernel_trials=0)(x), model(x).detach()) <= 1e-5


def test_the_batch_size_is_that_of_the_example():
    model = make(Residual)
    graph = hwopt.import_model(model, torch.randn(1, *IMAGE))
    x = torch.randn(3, *IMAGE)
    artifact = hwopt.compile(graph, x, kernel_trials=0)
    assert artifact.manifest.inputs[0].shape == (3, *IMAGE)
    assert max_difference(artifact(x), model(x).detach()) <= 1e-4


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((), "takes 1 inputs"),
        ((torch.zeros(2, *IMAGE),), r"shape \[1, 3, 8, 8\], not \[2, 3, 8, 8\]"),
        ((torch.zeros(1, *IMAGE).double(),), "must be float32, not float64"),
        (([[0.0]],), "numpy array or a torch tensor, not list"),
        ((torch.zeros(1, *IMAGE).bfloat16(),), r"torch tensor, not torch\.bfloat16"),
    ],
)
def test_wrong_input_is_one_clear_sentence(artifact, inputs, message):
    with pytest.raises(HwoptError, match=message):
        artifact(*inputs)


def test_nothing_is_measured_in_no_runs(artifact):
    with pytest.raises(HwoptError, match="runs must be 1 or more, not 0"):
        artifact.benchmark(runs=0)


def test_latency_is_a_distribution(artifact):
    latency = artifact.benchmark(runs=60)
    assert 0 < latency.p10_ms <= latency.median_ms <= latency.p90_ms
    assert latency.runs == 60 and latency.threads == artifact.manifest.target.threads


def test_it_runs_without_the_model_torch_and_the_compiler(artifact):
    x = artifact.random_inputs(seed=3)[0]
    code = (
        "import sys, numpy, hwopt\n"
        "a = hwopt.load(sys.argv[1])\n"
        "print(a(*a.random_inputs(seed=3)).tolist())\n"
        "print([m for m in ('tests.networks', 'torch', 'tvm') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(artifact.path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    values, loaded = printed.splitlines()
    assert loaded == "[]"
    assert np.allclose(json.loads(values), artifact(x))


def test_the_graph_comes_back(artifact):
    graph = artifact.graph()
    x = torch.randn(1, *IMAGE)
    assert graph.history == ("fold-batch-norm",)
    assert max_difference(graph.to_torch().eval()(x).detach(), artifact(x)) <= 1e-4
    assert isinstance(graph, Graph)


@pytest.mark.parametrize("name", ["model.so", "constants.bin", "graph.json", "weights.safetensors"])
def test_a_file_that_was_changed_or_is_missing_is_refused(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(HwoptError, match=f"the hash of {name} is wrong"):
        hwopt.load(copy)
    (copy / name).unlink()
    with pytest.raises(HwoptError, match=f"{name} is missing"):
        hwopt.load(copy)


def changed(folder, **changes):
    path = folder / "manifest.json"
    document = json.loads(path.read_text()) | changes
    del document[SEAL]
    write_sealed_json(path, document)


def test_other_machines_and_versions_are_refused(copy, artifact):
    target = artifact.manifest.target.model_dump()
    changed(copy, target={**target, "machine": "riscv64"})
    with pytest.raises(HwoptError, match="is for riscv64, this machine is"):
        hwopt.load(copy)
    changed(copy, target={**target, "isa": "avx1024"})
    with pytest.raises(HwoptError, match="needs avx1024"):
        hwopt.load(copy)
    changed(copy, target=target, schema_version=7)
    with pytest.raises(HwoptError, match="schema version 7"):
        hwopt.load(copy)
    changed(copy, schema_version=2, inputs=3)
    with pytest.raises(HwoptError, match="damaged: inputs"):
        hwopt.load(copy)


def test_an_artefact_without_hashes_is_refused(copy):
    changed(copy, files={})
    with pytest.raises(HwoptError, match=r"no hash of constants\.bin, graph\.json, model\.so"):
        hwopt.load(copy)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_change_of_any_byte_is_seen(artifact, data):
    files = sorted(path.name for path in artifact.path.iterdir())
    name = data.draw(st.sampled_from(files))
    content = bytearray((artifact.path / name).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255).filter(lambda new: new != content[place]))
    with tempfile.TemporaryDirectory() as folder:
        damaged = Path(folder) / "a"
        shutil.copytree(artifact.path, damaged)
        (damaged / name).write_bytes(content)
        with pytest.raises(HwoptError) as caught:
            hwopt.load(damaged)
        assert "\n" not in str(caught.value)
        if name in ("graph.json", "weights.safetensors"):
            with pytest.raises(HwoptError):
                Graph.load(damaged)


def test_a_folder_that_is_no_artefact(tmp_path):
    with pytest.raises(HwoptError, match="is not an artefact"):
        hwopt.load(tmp_path)


def test_compiling_again_replaces_the_folder(copy):
    artifact = hwopt.compile(make(Tied), torch.randn(1, 6), kernel_trials=0, output=copy)
    assert artifact.manifest.model == "Tied"
    assert sorted(p.name for p in copy.parent.iterdir()) == ["copy"]


def test_example_inputs_that_do_not_fit_the_graph_are_refused():
    graph = hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))
    with pytest.raises(HwoptError, match=r"has the shape \[1, 3, 9, 9\]"):
        hwopt.compile(graph, torch.randn(1, 3, 9, 9), kernel_trials=0)
    with pytest.raises(HwoptError, match="takes 1 inputs, 2 were given"):
        hwopt.compile(graph, [torch.randn(1, *IMAGE)] * 2, kernel_trials=0)


def small_disk_is_possible() -> bool:
    command = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "t", "/mnt"]
    return (
        shutil.which("unshare") is not None
        and not subprocess.run(command, capture_output=True).returncode
    )


@pytest.mark.slow
@pytest.mark.skipif(not small_disk_is_possible(), reason="needs a mount namespace of its own")
def test_a_full_disk_leaves_nothing_half_written(artifact, tmp_path):
    """A real file system of 32 KiB: the library does not fit."""
    artifact.graph().save(tmp_path / "graph")
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        f"mount -t tmpfs -o size=32k small {disk} && "
        f"{sys.executable} -m hwopt.cli.main compile {tmp_path / 'graph'} --kernel-trials 0 "
        f"--output {disk / 'a'}; code=$?; ls -A {disk}; exit $code"
    )
    command = ["unshare", "--map-root-user", "--mount", "bash", "-c", script]
    environment = {**os.environ, "HWOPT_HOME": str(tmp_path / "home")}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 2, result.stderr
    assert "the disk is full" in result.stderr and "Traceback" not in result.stderr
    assert result.stdout == ""


class UnknownToCompiler(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x)


def test_an_operator_that_the_compiler_does_not_know_is_named():
    graph = hwopt.import_model(UnknownToCompiler(), torch.randn(1, 4, 4))
    assert graph.to_torch()(torch.randn(2, 4, 4)).shape == (2, 4)
    with pytest.raises(HwoptError, match="svd") as error:
        hwopt.compile(graph, kernel_trials=0)
    assert "\n" not in str(error.value)
