"""Networks of torchvision and timm by their names."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from hwopt.models import libraries
from hwopt.models.source import load_graph, source_kind


@pytest.mark.slow
def test_a_network_of_timm_is_compiled():
    graph = load_graph("timm:test_byobnet", num_classes=7, input_shape=(3, 64, 64))
    assert str(graph.inputs["x"]) == "f32[N, 3, 64, 64]"
    assert graph.spec(graph.outputs["output"]).shape[1] == 7
    x = torch.randn(1, 3, 64, 64)
    torch.manual_seed(0)
    model, shape = libraries.create("timm:test_byobnet", num_classes=7)
    assert shape == (3, 160, 160)
    with torch.no_grad():
        expected = model.eval()(x)
    torch.testing.assert_close(
        hwopt.compile(graph, kernel_trials=0)(x), expected, atol=1e-4, rtol=1e-4
    )


def test_a_network_of_torchvision_has_its_own_shape():
    model, shape = libraries.create("torchvision:shufflenet_v2_x0_5", num_classes=3)
    assert isinstance(model, nn.Module) and shape == (3, 224, 224)
    assert libraries.create("torchvision:r3d_18")[1] == (3, 16, 112, 112)


def test_what_is_no_network_of_a_library():
    assert source_kind("timm:resnet18") == "library" and source_kind("my.nets:make") == "callable"
    with pytest.raises(HwoptError, match="torchvision has no model 'resnet999'; did you mean"):
        libraries.create("torchvision:resnet999")
    with pytest.raises(HwoptError, match=r"model timm:resnet18: .*nothing_like_this"):
        libraries.create("timm:resnet18", nothing_like_this=1)
    with pytest.raises(HwoptError, match="it has no dimensions or inputs to bind"):
        load_graph("timm:resnet18", dims={"n": 1})


class Difference(nn.Module):
    """Not the same in another order."""

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return first - second


@pytest.mark.parametrize(
    ("names", "expected"), [(("second", "first"), ["first", "second"]), (("a", "b"), None)]
)
def test_inputs_of_a_callable_go_by_their_names(names, expected):
    inputs = {names[0]: torch.zeros(2, 3), names[1]: torch.zeros(2, 1)}
    graph = load_graph("tests.models.test_torchvision_and_timm:Difference", inputs=inputs)
    assert list(graph.inputs) == ["first", "second"]
    first = graph.inputs["first"].shape[1]
    assert first == (1 if expected else 3)
