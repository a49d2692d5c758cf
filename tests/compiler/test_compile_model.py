"""What ``hwopt.compile`` refuses, and what it leaves behind."""

import dataclasses
import gc

import pytest
import torch

import hwopt
from hwopt import targets
from hwopt.errors import HwoptError
from tests.networks import IMAGE, Residual, make, max_difference


def test_a_target_that_this_machine_is_not_is_refused_before_anything_is_done(tmp_path):
    board = dataclasses.replace(targets.get("host"), name="board", isa="neon")
    with pytest.raises(HwoptError, match="no neon, which target board needs"):
        hwopt.compile(make(Residual), torch.zeros(1, *IMAGE), target=board, output=tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_artefact_is_refused_before_anything_is_done(tmp_path):
    (tmp_path / "holiday.png").touch()
    with pytest.raises(HwoptError, match=r"has no manifest\.json"):
        hwopt.compile(make(Residual), torch.zeros(1, *IMAGE), kernel_trials=0, output=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.png"]


def test_an_artefact_in_the_place_of_one_that_is_in_use_is_its_own(tmp_path):
    x = torch.randn(1, 4)
    models = [torch.nn.Linear(4, 3), torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())]
    artifacts = [hwopt.compile(m, x, kernel_trials=0, output=tmp_path / "a") for m in models]
    for model, artifact in zip(models, artifacts, strict=True):
        assert max_difference(model(x), artifact(x)) <= 1e-6


def test_a_temporary_artefact_goes_with_its_last_user():
    artifact = hwopt.compile(make(Residual), torch.zeros(1, *IMAGE), kernel_trials=0)
    path = artifact.path
    assert (path / "manifest.json").is_file()
    del artifact
    gc.collect()
    assert not path.exists()
