"""A pass, an optimizer and a sampler that another package offers work without touching hwopt."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hwopt import plugins
from hwopt.errors import HwoptError
from hwopt.job import make_recipe
from hwopt.search.results import StudyResults
from hwopt.train import optimizers
from tests.search.small import network
from tests.search.studies import changed


@pytest.mark.slow
def test_a_search_with_an_optimizer_and_a_sampler_of_others(installed_plugin, tmp_path):
    training = {"optimizer": "sign-descent", "schedule": "constant", "learning_rate": 0.1}
    recipe = {
        **changed(trials=2),
        "train": {"epochs": 20, **training},
        "fine_tune": {"epochs": 1, "optimizer_options": {"momentum": 0.8}, **training},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-m", "hwopt.cli.main", "search", tmp_path / "small.yaml"]
    options = ["--sampler", "narrowest-first", "--output", tmp_path / "run"]
    environment = {**os.environ, "PYTHONPATH": f"{installed_plugin}:{Path.cwd()}"}
    result = subprocess.run([*command, *options], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    study = StudyResults.of(tmp_path / "run")
    assert [trial.state for trial in study.trials] == ["measured"] * 2
    assert study.baseline.quality > 0.3  # it learns
    assert study.trials[0].macs == min(trial.macs for trial in study.trials)
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["search"]["sampler"]


@pytest.mark.usefixtures("installed_plugin")
def test_what_is_installed_is_a_name_like_any_other():
    assert "sign-descent" in plugins.names(plugins.OPTIMIZERS)
    assert plugins.package(plugins.SAMPLERS, "narrowest-first") == "hwopt-plugin-example"
    built = optimizers.build("sign-descent", network(), 0.1, 0.0, samples=1280, epochs=3)
    assert (built.steps, built.param_groups[0]["lr"]) == (30, 0.01)
    training = {"optimizer": "sign-descent"}
    with pytest.raises(HwoptError, match="SignDescent chooses its step sizes itself"):
        make_recipe({"model": "resnet8", "data": "digits", "train": training})
    training |= {"schedule": "constant", "optimizer_options": {"steps": 3}}
    with pytest.raises(HwoptError, match="steps of sign-descent is what the training gives it"):
        make_recipe({"model": "resnet8", "data": "digits", "train": training})
