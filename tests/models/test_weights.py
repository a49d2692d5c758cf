"""Files of weights for models that functions make."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hwopt.errors import HwoptError
from hwopt.models.source import load_graph
from hwopt.models.weights import load_weights

SOURCE = "tests.models.test_weights:network"


def network(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width))


@pytest.fixture
def trained():
    torch.manual_seed(7)
    model = network()
    model[1].running_mean.uniform_()
    return model


def wrapped(state, place, prefix=""):
    named = {prefix + name: tensor for name, tensor in state.items()}
    return {place: named, "epoch": 3} if place else named


@pytest.mark.parametrize(
    ("place", "prefix"),
    [("", ""), ("state_dict", "module."), ("model_state_dict", ""), ("model", "")],
)
def test_what_trainings_leave_is_read(trained, tmp_path, place, prefix):
    file = tmp_path / "w.pt"
    torch.save(wrapped(trained.state_dict(), place, prefix), file)
    graph = load_graph(SOURCE, input_shape=(4,), weights=file)
    x = torch.randn(5, 4)
    torch.testing.assert_close(graph.to_torch().eval()(x), trained.eval()(x))


def test_safetensors_are_read(trained, tmp_path):
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    model = network()
    load_weights(model, tmp_path / "w.safetensors")
    assert all(map(torch.equal, model.state_dict().values(), trained.state_dict().values()))


def test_what_does_not_fit_is_one_sentence(trained, tmp_path):
    file = tmp_path / "w.pt"
    for content, message in (
        (network(5).state_dict(), r"0\.weight has the shape \[5, 4\] in them, and \[3, 4\]"),
        ({**trained.state_dict(), "head.bias": torch.zeros(1)}, "it has no 'head.bias'"),
        ({"1.weight": torch.zeros(3)}, "there is no"),
        (trained, "cannot be read"),
        ({"epoch": 3}, "hold no state dict"),
    ):
        torch.save(content, file)
        with pytest.raises(HwoptError, match=message):
            load_graph(SOURCE, input_shape=(4,), weights=file)
    for damaged in (b"", b"PK\x03\x04 and no more", b"\x80\x02cos\nsystem\n"):
        file.write_bytes(damaged)
        with pytest.raises(HwoptError, match="cannot be read"):
            load_weights(network(), file)
    with pytest.raises(HwoptError, match="cannot be read"):
        load_weights(network(), tmp_path / "nowhere.safetensors")
    (tmp_path / "g").mkdir()
    with pytest.raises(HwoptError, match="is a file that has its weights: give none"):
        load_graph(str(tmp_path / "g"), weights=file)
