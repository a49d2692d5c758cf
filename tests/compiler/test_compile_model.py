"""What ``hwopt.compile`` refuses, and what it leaves behind."""

import dataclasses

import pytest
import torch

import hwopt
from hwopt import targets
from hwopt.errors import HwoptError
from tests.networks import IMAGE, Residual, make


def test_a_target_that_this_machine_is_not_is_refused_before_anything_is_done(tmp_path):
    board = dataclasses.replace(targets.get("host"), name="board", isa="neon")
    with pytest.raises(HwoptError, match="no neon, which target board needs"):
        hwopt.compile(make(Residual), torch.zeros(1, *IMAGE), target=board, output=tmp_path / "a")
    assert not list(tmp_path.iterdir())
