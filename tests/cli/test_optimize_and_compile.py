"""Compiling and the main job from the command line."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from tests.cli.command import hwopt, refused
from tests.devices import needs
from tests.graph.onnx.files import write


def test_dry_runs_compute_nothing(tmp_path):
    result = hwopt("compile", "resnet8", "--dry-run", folder=tmp_path)
    assert "conv2d" in result.stdout
    flags = ("--model", "resnet8", "--data", "digits", "--passes", "half:prune-channels")
    result = hwopt("optimize", *flags, "--dry-run", folder=tmp_path)
    assert json.loads(result.stdout)["variants"]["half"]["passes"] == "prune-channels"
    assert not list(tmp_path.iterdir())
    # What is printed is a recipe.
    (tmp_path / "printed.json").write_text(result.stdout)
    assert hwopt("optimize", tmp_path / "printed.json", "--dry-run").stdout == result.stdout


def test_passes_before_compiling_know_the_target_and_say_what_they_did():
    passes = "prune-channels{ratio=0.4,multiple=0}"
    avx2 = ("--target", "x86-avx2")
    results = [hwopt("compile", "resnet8", "--passes", passes, "--dry-run", *t) for t in ((), avx2)]
    assert all(result.returncode == 0 for result in results), results
    assert all("prune-channels: changed" in result.stderr for result in results)


@pytest.mark.slow
def test_optimize_from_flags_and_report(tmp_path):
    flags = ("--model", "resnet8", "--model-option", "width=4", "--data", "digits")
    options = (
        "--epochs",
        1,
        "--kernel-trials",
        0,
        "--passes",
        "dense:",
        "--output",
        tmp_path / "run",
    )
    result = hwopt("optimize", *flags, *options)
    assert result.returncode == 0, result.stderr
    assert "test accuracy" in result.stdout and "dense" in result.stdout
    again = ("--output", tmp_path / "run", "--fresh", "--target")
    for target, reason in (("hots", "did you mean 'host'"), ("raspberry-pi-4", "how to reach")):
        sentence = refused("optimize", "--model", "resnet8", "--data", "digits", *again, target)
        assert reason in sentence
    page = (tmp_path / "run" / "report.html").read_text()
    assert "https:" not in page and set(re.findall(r"http://[^/]*", page)) == {"http://www.w3.org"}
    result = hwopt("report", tmp_path / "run", "--markdown")
    assert result.stdout.startswith("| variant |")


@pytest.mark.slow
def test_threads_and_batch_of_a_compiled_model(tmp_path):
    options = ("--model-option", "width=4", "--input-shape", "1x16x16", "--classes", 3)
    chosen = (
        "--threads",
        1,
        "--batch",
        2,
        "--kernel-trials",
        0,
        "--output",
        tmp_path / "a",
        "--json",
    )
    result = hwopt("compile", "resnet8", *options, *chosen)
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["inputs"][0]["shape"] == [2, 1, 16, 16]
    assert document["target"]["threads"] == document["latency"]["threads"] == 1


@pytest.mark.slow
def test_an_onnx_file_with_free_sizes_and_a_constant(tmp_path):
    from onnx import helper

    nodes = [
        helper.make_node("Mul", ["x", "rate"], ["s"]),
        helper.make_node("Add", ["s", "z"], ["y"]),
    ]
    inputs = {"x": [1, "n"], "rate": [], "z": [1, "n"]}
    path = write(tmp_path / "net.onnx", nodes, inputs, ["y"])
    np.save(tmp_path / "z.npy", np.ones((1, 3), "float32"))
    given = ("--input", f"z={tmp_path / 'z.npy'}", "--constant", "rate=2", "--dim", "n=3")
    folder = tmp_path / "a"
    result = hwopt("compile", path, *given, "--kernel-trials", 0, "--output", folder, "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert [(one["name"], one["shape"]) for one in document["inputs"]] == [
        ("x", [1, 3]),
        ("z", [1, 3]),
    ]
    for option, sentence in (
        (("--input", "x=f32"), "--input 'x=f32' is not understood"),
        (("--input", "x=q7[1]"), "'q7' is no type such as f32"),
        (("--input", "w=f32[1,3]"), "unknown input 'w'"),
        (("--input", "x=none.npy"), "none.npy cannot be read"),
        (("--dim", "n=0"), "'0' is no size"),
        (("--dim", "m=3"), "unknown free dimension 'm'"),
        (("--constant", "rate=fast"), "'fast' is no number"),
    ):
        assert sentence in refused("compile", path, *option)
    assert "is no .onnx file" in refused("compile", "resnet8", "--dim", "n=3")


@pytest.mark.slow
def test_export(tmp_path):
    small = ("resnet8", "--model-option", "width=4", "--input-shape", "1x16x16")
    exported = hwopt("export", *small, "--c", "--output", tmp_path / "c", "--name", "net")
    assert exported.returncode == 0, exported.stderr
    assert "net_run" in exported.stdout and "bytes of weights in flash" in exported.stdout
    assert "int net_run(" in (tmp_path / "c" / "net.h").read_text()
    assert "is not replaced" in refused("export", *small, "--c", "--output", tmp_path)


@pytest.mark.slow
@needs("an emulated AArch64")  # for its compiler
def test_a_device_out_of_reach_is_compiled_for(tmp_path):
    small = ("resnet8", "--model-option", "width=4", "--input-shape", "1x16x16")
    options = ("--target", "raspberry-pi-4", "--output", tmp_path / "a")
    compiled = hwopt("compile", *small, *options)
    assert compiled.returncode == 0, compiled.stderr
    assert "not measured: the artefact is for raspberry-pi-4" in compiled.stderr
    assert "is for aarch64" in refused("run", tmp_path / "a")
    assert "see `hwopt targets add`" in refused("compile", *small, *options, "--kernel-trials", 2)
    assert hwopt("targets", "check", "raspberry-pi-4").returncode == 2
