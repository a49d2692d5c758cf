import pytest
import torch
from torch import nn

from hwopt.compiler.lower import lower
from hwopt.errors import HwoptError


class Sorts(nn.Module):
    def forward(self, x):
        return torch.linalg.inv(x)


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.stage = nn.Sequential(nn.ReLU(), Sorts())

    def forward(self, x):
        return self.stage(x)


class Nonzero(nn.Module):
    def forward(self, x):
        return torch.nonzero(x)


class Branches(nn.Module):
    def forward(self, x):
        return x + 1 if x.sum() > 0 else x - 1


def test_an_unknown_operator_is_named_with_its_place():
    with pytest.raises(HwoptError) as caught:
        lower(Outer(), (torch.eye(3)[None],))
    message = str(caught.value)
    assert "linalg_inv" in message
    assert "stage.1" in message
    assert "test_lower.py" in message
    assert "\n" not in message


def test_dynamic_shapes_are_refused():
    with pytest.raises(HwoptError, match="dynamic shapes are not supported yet"):
        lower(Nonzero(), (torch.ones(4),))


def test_a_model_that_cannot_be_traced_is_one_sentence():
    with pytest.raises(HwoptError, match=r"cannot be traced by torch\.export"):
        lower(Branches(), (torch.ones(4),))


def test_the_mode_of_the_module_stays():
    module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5)).train()
    lowered = lower(module, (torch.ones(1, 3),))
    assert module.training
    assert "main" in [var.name_hint for var in lowered.functions]
