"""Recipes that are made for a model, its data, and the limits of a device."""

from __future__ import annotations

import json
import re

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import hwopt
from hwopt import passes, targets
from hwopt.compiler.kernels_of import footprint_of
from hwopt.errors import HwoptError
from hwopt.job import load_recipe, recipe_text, recipe_within
from tests.cli.command import hwopt as command

HERE = "tests.job.test_within_limits"
FLAGS = {"model": f"{HERE}:wide", "peers": [], "kernel_trials": 0, "seed": 3}


def wide() -> nn.Module:
    """A network of 270,000 numbers."""
    return nn.Sequential(
        nn.Linear(8, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 4)
    )


def unlabelled() -> TensorDataset:
    return TensorDataset(torch.randn(720, 8, generator=torch.Generator().manual_seed(0)))


def labelled() -> TensorDataset:
    inputs = unlabelled().tensors[0]
    return TensorDataset(inputs, inputs[:, :4].argmax(1))


def numbers() -> TensorDataset:
    inputs = unlabelled().tensors[0]
    return TensorDataset(inputs, inputs[:, :4].sum(1))


def within(tmp_path, data="unlabelled", **limits):
    return recipe_within({**FLAGS, "data": f"{HERE}:{data}", "limits": limits}, tmp_path / "run")


def test_what_is_within_the_limits_is_left_as_it_is(tmp_path):
    recipe = within(tmp_path, ms=10_000, bytes=10**8, memory_bytes=10**6)
    assert list(recipe.variants) == ["dense"] and recipe.task == "imitate"
    assert recipe.train is None and recipe.fine_tune.optimizer == "adamw"
    assert recipe.fine_tune.label_smoothing == 0.0


def test_classes_are_told_and_other_targets_are_asked_about(tmp_path):
    recipe = within(tmp_path, "labelled", ms=10_000)
    assert recipe.task == "classification" and recipe.fine_tune.label_smoothing > 0
    with pytest.raises(HwoptError, match=r"no classes: say what the model is for.*regression"):
        within(tmp_path, "numbers", ms=10_000)


def test_random_weights_cannot_be_imitated(tmp_path):
    for data, task in (("unlabelled", {}), ("labelled", {"task": "imitate"})):
        document = {"model": "resnet8", "data": f"{HERE}:{data}", "limits": {"ms": 1}, **task}
        with pytest.raises(HwoptError, match="random weights: there is nothing to imitate"):
            recipe_within(document, tmp_path / "run")


def test_a_limit_on_the_size_takes_no_more_than_it_needs(tmp_path):
    most = 600_000
    (within_size,) = passes.parse(within(tmp_path, bytes=most).variants["within"].passes)
    graph, target = hwopt.import_model(wide(), torch.zeros(1, 8)), targets.get("host")
    sizes = [
        footprint_of(passes.apply(graph, f"prune-channels{{ratio={ratio:g}}}"), target).kept_bytes
        for ratio in (within_size.ratio - 0.05, within_size.ratio)
    ]
    assert sizes[0] > most >= sizes[1]
    with pytest.raises(HwoptError, match="no pruning of its channels keeps the limits"):
        within(tmp_path, bytes=1000)


def test_a_budget_is_a_share_of_what_was_measured(tmp_path):
    with pytest.raises(HwoptError, match=r"1e-06 ms is under 5% of the .* ms that .*:wide takes"):
        within(tmp_path, ms=1e-6)
    (memory,) = (tmp_path / "run").rglob("latencies.json")
    ((ms, _, _),) = json.loads(memory.read_text()).values()
    recipe = within(tmp_path, ms=ms / 2)
    # What was measured is remembered: the share is the same whenever it is asked for.
    assert recipe.variants["within"].passes == "prune-to-latency{share=0.48}"
    (tmp_path / "made.yaml").write_text(recipe_text(recipe))
    assert load_recipe(tmp_path / "made.yaml") == recipe


@pytest.mark.slow
def test_from_the_command_line(tmp_path):
    flags = (
        "--model",
        f"{HERE}:wide",
        "--data",
        f"{HERE}:unlabelled",
        "--output",
        tmp_path / "run",
    )
    flags += ("--kernel-trials", 0, "--fine-tune-epochs", 3)
    done = command("optimize", *flags, "--size", "600KB", "--no-worse", "50%")
    assert done.returncode == 0, done.stderr
    printed = re.search(r"model: .*?\n\n", done.stderr, re.DOTALL)
    assert "bytes: 614400" in printed[0] and "task: imitate" in printed[0]
    (tmp_path / "printed.yaml").write_text(printed[0])
    assert load_recipe(tmp_path / "printed.yaml").variants.keys() == {"dense", "within"}
    assert "best: within: " in done.stdout and "agreement" in done.stdout
    again = command("optimize", *flags, "--size", "600KB", "--no-worse", "50%")
    assert "= within.fine-tune (done before)" in again.stderr
    assert "is no size: write it as 64KB" in refused_usage(*flags, "--size", "much")
    assert "is no time: write it as 0.2ms" in refused_usage(*flags, "--budget", "inf")
    printed = tmp_path / "printed.yaml"
    both = command("optimize", printed, "--budget", "5ms", "--dry-run")
    limits = json.loads(both.stdout)["limits"]
    assert limits == {"ms": 5.0, "bytes": 614400, "memory_bytes": None}


def refused_usage(*flags):
    result = command("optimize", *flags)
    assert result.returncode == 2
    return " ".join(result.stderr.split())
