"""The command line as a user meets it: real processes, exit codes, both streams."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from hwopt import targets
from hwopt.cli.main import cli
from tests.cli.command import hwopt, refused
from tests.farm import farm

PLUGIN = Path(__file__).parents[1] / "plugin/hwopt_plugin_example/replace_activation.py"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    options = ("--model-option", "width=4", "--input-shape", "1x16x16", "--classes", 3)
    result = hwopt(
        "compile", "resnet8", *options, "--kernel-trials", 0, "--output", folder / "a", "--json"
    )
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["inputs"][0]["shape"] == [1, 1, 16, 16]
    assert document["latency"]["median_ms"] > 0
    return folder / "a"


@pytest.mark.alone
def test_help_is_fast():
    times = []
    for _ in range(5):
        start = time.perf_counter()
        command = [sys.executable, "-m", "hwopt.cli.main", "--help"]
        assert "optimize" in subprocess.run(command, capture_output=True, text=True).stdout
        times.append(time.perf_counter() - start)
    assert min(times) < 0.3


def test_help_imports_neither_torch_nor_tvm():
    code = "import sys, hwopt.cli.main as m; m.cli(['--help'], standalone_mode=False);"
    code += "assert not {'torch', 'tvm', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def commands(group=cli, path=()):
    """Yield the words of every command, and the command."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize(
    ("words", "command"), [pytest.param(*one, id=" ".join(one[0])) for one in commands()]
)
def test_every_command_and_option_has_help(words, command):
    result = CliRunner().invoke(cli, [*words, "--help"])
    assert result.exit_code == 0 and result.output.startswith("Usage: ")
    assert command.help
    silent = [one.name for one in command.params if isinstance(one, click.Option) and not one.help]
    assert silent == []


@pytest.mark.slow
def test_run_and_bench(artifact, tmp_path):
    x = np.random.default_rng(0).standard_normal((1, 1, 16, 16)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    result = hwopt("run", artifact, tmp_path / "x.npy", "--output", tmp_path / "y.npz", "--json")
    printed = np.array(json.loads(result.stdout)["output"], dtype="float32")
    saved = np.load(tmp_path / "y.npz")["output"]
    assert printed.shape == (1, 3) and np.allclose(printed, saved)
    result = hwopt("bench", artifact, artifact, "--runs", 20, "--json")
    assert next(iter(json.loads(result.stdout).values()))["runs"] == 20


@pytest.mark.slow
def test_bench_profiles_the_kernels(artifact):
    printed = hwopt("bench", artifact, "--runs", 20, "--profile").stdout
    assert "of compute" in printed and "above the machine's limit" in printed
    document = json.loads(hwopt("bench", artifact, "--runs", 20, "--profile", "--json").stdout)
    (entry,) = document.values()
    assert all(kernel["us"] > 0 for kernel in entry["kernels"])


@pytest.mark.slow
def test_bench_over_the_images_of_a_data_set(tmp_path):
    artifact = tmp_path / "digits.artifact"
    hwopt(
        "compile", "resnet8", "--input-shape", "1x28x28", "--kernel-trials", 0, "--output", artifact
    )
    printed = hwopt("bench", artifact, "--data", "digits", "--runs", 30).stdout
    assert "99 % within" in printed and "100.0 % easy" in printed and "30 runs" in printed
    (found,) = json.loads(
        hwopt("bench", artifact, "--data", "digits", "--runs", 30, "--json").stdout
    ).values()
    assert found["all"]["runs"] == 30 and found["coverage"] == 1
    assert "neither --peer nor" in refused("bench", artifact, "--data", "digits", "--profile")


def test_run_refuses_wrong_input(artifact, tmp_path):
    np.save(tmp_path / "shape.npy", np.zeros((1, 1, 8, 8), "float32"))
    np.save(tmp_path / "dtype.npy", np.zeros((1, 1, 16, 16), "float64"))
    (tmp_path / "bad.npy").write_text("no")
    assert "shape [1, 1, 16, 16], not [1, 1, 8, 8]" in refused(
        "run", artifact, tmp_path / "shape.npy"
    )
    assert "must be float32, not float64" in refused("run", artifact, tmp_path / "dtype.npy")
    (tmp_path / "empty.npy").touch()
    for name in ("bad.npy", "empty.npy"):
        assert "cannot be read" in refused("run", artifact, tmp_path / name)
    assert "takes 1 inputs" in refused("run", artifact, *[tmp_path / "shape.npy"] * 2)


def test_passes(tmp_path):
    names = json.loads(hwopt("passes", "list", "--json").stdout)
    assert names["prune-channels"] == "hwopt"
    shown = hwopt("passes", "show", "prune-channels").stdout
    assert "ratio=0.5" in shown and "layers=[]" in shown
    result = hwopt("passes", "apply", "resnet8", "prune-channels", "--output", tmp_path / "g")
    assert result.returncode == 0 and "graph resnet8" in result.stdout
    again = hwopt("passes", "apply", tmp_path / "g", "fold-batch-norm", "--json")
    document = json.loads(again.stdout)
    assert document["macs"][0] == document["macs"][1] and len(document["notes"]) == 7


@pytest.mark.slow
def test_passes_that_need_data(tmp_path):
    text = "prune-weights{ratio=0.9,criterion=snip},prune-channels{criterion=taylor,multiple=0}"
    options = ("--input-shape", "1x28x28", "--data", "digits", "--json")
    result = hwopt("passes", "apply", "resnet8", text, *options)
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["macs"][1] < document["macs"][0]
    assert any("of the weights are zero" in note for note in document["notes"])
    sentence = refused("passes", "apply", "resnet8", text, "--data", "digits")
    assert "the data has inputs of the shape [1, 28, 28], but the model takes" in sentence
    assert "give --data" in refused("passes", "apply", "resnet8", text)
    sentence = refused("passes", "apply", "resnet8", "prune-to-latency{criterion=l2}")
    assert "needs measured latency: run it in hwopt optimize" in sentence


def test_a_plugin_file():
    result = hwopt("passes", "list", "--plugin", PLUGIN)
    assert "replace-activation" in result.stdout


def test_targets():
    assert hwopt("targets", "check", "host").returncode == 0
    assert "[tvm]" in hwopt("targets", "show", "host").stdout
    names = {entry["name"] for entry in json.loads(hwopt("targets", "list", "--json").stdout)}
    assert {"host", "x86-avx2", "x86-avx512"} <= names


def test_doctor():
    findings = json.loads(hwopt("doctor", "--json").stdout)
    states = {finding["what"]: finding for finding in findings}
    assert states["apache-tvm / apache-tvm-ffi"]["well"]
    assert states["threads"]["well"] and states["compiling for it"]["well"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("optimise",), "did you mean 'optimize'"),
        (("compile", "resnet9"), "did you mean 'resnet8'"),
        (("compile", "resnet8", "--target", "hots"), "did you mean 'host'"),
        (("compile", "missing.onnx"), "does not exist"),
        (("compile", "os:getcwd"), "give the shape"),
        (("compile", "os:getcwd", "--input-shape", "3"), "not a torch module"),
        (("compile", "nowhere:f", "--input-shape", "3"), "cannot import"),
        (("compile", "resnet8", "--input-shape", "3x0"), "is no shape"),
        (("passes", "show", "prune-chanels"), "did you mean 'prune-channels'"),
        (("run", "nowhere"), "is not an artefact"),
        (("report", "nowhere"), "no finished job"),
        (("optimize",), "--model is missing"),
        (("optimize", "missing.yaml"), "cannot be read"),
        (("optimize", "--model", "resnet8", "--data", "digitz"), "did you mean 'digits'"),
        (("optimize", "--model", "resnet8", "--data", "digits", "--passes", "x"), "NAME:PASSES"),
        (("passes", "list", "--plugin", "missing.py"), "does not exist"),
        (("passes", "show", ""), "unknown pass ''"),
        (("passes", "apply", "resnet8", "prune-channels{parts=hole}"), "did you mean 'whole'"),
        (("passes", "apply", "resnet8", "prune-channels{ratio=0.1,ratio=0.2}"), "given twice"),
        (
            ("optimize", "--model", "resnet8", "--passes", "a:", "--passes", "a:condense"),
            "--passes names 'a' twice",
        ),
    ],
)
def test_bad_input_is_one_clear_sentence(arguments, message, tmp_path):
    assert message in refused(*arguments, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_exported_names_the_line(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\n\nclass Net(torch.nn.Module):\n    def forward(self, x):\n"
        "        if x.sum() > 0:\n            return x\n        return -x\n"
    )
    sentence = refused("compile", "mine:Net", "--input-shape", "3", folder=tmp_path)
    assert "mine.py:5 (if x.sum() > 0:)" in sentence
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == ["mine.py"]


@pytest.mark.slow
def test_a_board_is_added_probed_and_used(tmp_path, monkeypatch):
    monkeypatch.setenv("HWOPT_HOME", str(tmp_path / "home"))
    with farm() as one:
        one.serve("mine")
        add = ("targets", "add", "mine", "--like", "host", "--tracker", one.tracker)
        assert hwopt(*add).returncode == 0
        assert "is there: give --force" in refused(*add)
        assert "no name for a target of yours" in refused(
            "targets", "add", "host", "--like", "host"
        )
        probed = hwopt("targets", "probe", "mine", "--json")
        document = json.loads(probed.stdout)
        assert document["target"]["key"] == "mine"
        assert document["target"]["cpu"] == targets.get("host").cpu
        listed = json.loads(hwopt("devices", "list", "--tracker", one.tracker, "--json").stdout)
        assert [(entry["key"], entry["free"]) for entry in listed] == [("mine", 1)]
        small = ("resnet8", "--model-option", "width=4", "--input-shape", "1x16x16")
        folder = tmp_path / "a"
        compiled = hwopt(
            "compile",
            *small,
            "--kernel-trials",
            0,
            "--target",
            "mine",
            "--threads",
            1,
            "--output",
            folder,
        )
        assert compiled.returncode == 0, compiled.stderr
        measured = hwopt("bench", folder, "--target", "mine", "--runs", 20, "--json")
        (latency,) = json.loads(measured.stdout).values()
        assert latency["threads"] == 1 and latency["median_ms"] > 0
        sentence = refused("bench", folder, "--target", "mine", "--profile")
        assert "measure on this machine, not on a board" in sentence
    assert "no tracker answers" in refused("devices", "list", "--tracker", "127.0.0.1:9")
