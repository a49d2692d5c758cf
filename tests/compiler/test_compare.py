"""What was compiled beside torch: what differs is not written."""

import pytest
import torch
from torch import nn

import hwopt
from hwopt.compiler.compare import TOLERANCE, compare
from hwopt.compiler.lower import table
from hwopt.errors import HwoptError


def test_an_artefact_says_on_how_many_inputs_it_was_compared(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))
    artifact = hwopt.compile(model, torch.randn(1, 3, 8, 8), kernel_trials=0, output=tmp_path / "a")
    found = hwopt.load(tmp_path / "a").manifest.compared
    assert found == artifact.manifest.compared
    assert found.inputs == 2 and 0 <= found.difference < 1e-5 and not found.reason


def test_what_computes_something_else_is_not_written(tmp_path, monkeypatch):
    wrong = table.CONVERTERS["sigmoid.default"]
    monkeypatch.setitem(table.CONVERTERS, "tanh.default", wrong)
    model, x = nn.Sequential(nn.Linear(4, 4), nn.Tanh()), torch.randn(1, 4)
    with pytest.raises(HwoptError, match=r"output 'output' differs by .*nothing was written"):
        hwopt.compile(model, x, kernel_trials=0, output=tmp_path / "a")
    assert not list(tmp_path.iterdir())
    artifact = hwopt.compile(model, x, kernel_trials=0, output=tmp_path / "a", check=False)
    assert artifact.manifest.compared.reason == "it was not asked for"
    with pytest.raises(HwoptError, match="computes something else"):
        compare(artifact, artifact.graph(), (x,))


def test_what_no_device_here_can_run_says_so():
    model, x = nn.Linear(4, 4), torch.zeros(1, 4)
    artifact = hwopt.compile(model, x, kernel_trials=0, target="raspberry-pi-4")
    assert "no such device is within reach" in artifact.manifest.compared.reason


@pytest.mark.parametrize("rows", [3, 50, 1000])
def test_whole_numbers_are_those_that_the_model_takes(rows):
    """Without examples they are drawn from smaller ranges until torch takes them."""
    graph = hwopt.import_model(nn.Embedding(rows, 4), torch.zeros(1, 5, dtype=torch.int64))
    assert hwopt.compile(graph, kernel_trials=0).manifest.compared.inputs >= 2


def test_rounding_may_decide_where_it_does_in_torch():
    """Signs of what is nearly zero, summed: other last digits give other numbers in torch, too."""

    class Undecided(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(256, 256), nn.Linear(256, 256)

        def forward(self, x):
            y = self.first(x)
            return ((y - y.mean(1, keepdim=True) * 0 - self.first(x * (1 + 1e-7))) * 1e7).sign()

    artifact = hwopt.compile(Undecided(), torch.randn(4, 256), kernel_trials=0)
    assert artifact.manifest.compared.difference > TOLERANCE
