"""The user's own code is found in the current folder, and its errors are one sentence."""

import pytest

from hwopt import data, references
from hwopt.errors import HwoptError

MODULE = """
import torch
from torch.utils.data import TensorDataset

def noise():
    samples = TensorDataset(torch.randn(24, 1, 8, 8), torch.arange(24) % 2)
    return samples, samples

def broken():
    raise KeyError("no such column")

class Sets:
    noise = staticmethod(noise)
"""


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    """Put a module of its own into the current folder; return its name."""
    name = f"mine_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")  # what is added to the path goes with the test
    return name


@pytest.mark.parametrize("function", ["noise", "Sets.noise"])
def test_data_are_found_in_the_current_folder(module, function):
    assert len(data.load(f"{module}:{function}").test) == 24


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("{}:broken", "data set .* raised KeyError: 'no such column'"),
        ("{}:missing", "has no callable 'missing'"),
        ("no_such_module:load", "cannot import 'no_such_module'"),
    ],
)
def test_what_goes_wrong_is_one_sentence(module, reference, message):
    with pytest.raises(HwoptError, match=message):
        references.call(reference.format(module), "data set")
