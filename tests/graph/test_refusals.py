"""What cannot become a graph is refused in one sentence that names it."""

import pytest
import torch
from torch import nn

import hwopt
from hwopt.errors import HwoptError


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def refusal(model, x):
    with pytest.raises(HwoptError) as caught:
        hwopt.import_model(model, x)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_weights_that_hold_nan_are_named():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight.data[0, 1] = torch.nan
    message = refusal(model, torch.zeros(1, 4))
    assert "parameter '1.weight' holds NaN in 1 of 8 places" in message


def test_infinite_masks_are_numbers():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.full((4, 4), -torch.inf).triu(1))

        def forward(self, x):
            return (x + self.mask).softmax(-1)

    x = torch.randn(1, 4, 4)
    graph = hwopt.import_model(Masked(), x)
    assert torch.equal(graph.to_torch()(x), Masked()(x))


def test_tensors_without_numbers():
    with torch.device("meta"):
        empty = nn.Linear(4, 4)
    assert "parameter 'weight' is on the device meta" in refusal(empty, torch.zeros(1, 4))
    message = refusal(nn.Linear(4, 4), torch.zeros(1, 4, device="meta"))
    assert "example input 0 is on the device meta" in message


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: x[x > 0], r"how much aten.index.Tensor returns depends on the numbers"),
        (lambda x: x.nonzero(), r"how much aten.nonzero.default returns depends on the numbers"),
        (lambda x: x[:, 1:].as_strided((2,), (1,), 0), "where it stands counts: call contiguous"),
        (lambda x: x.sum().item() * x, "makes a number of a tensor"),
    ],
)
def test_what_depends_on_numbers_or_on_memory(function, why):
    assert why in refusal(Call(function), torch.ones(2, 4))


def test_in_place_operators_on_an_argument_called_input():
    class InPlace(nn.Module):
        def forward(self, input):
            y = input * 2
            y += 1
            return nn.functional.relu_(y)

    x = torch.randn(2, 4)
    graph = hwopt.import_model(InPlace(), x)
    assert list(graph.inputs) == ["input"]
    assert torch.equal(graph.to_torch()(x), InPlace()(x))


def test_same_padding_of_weights_that_are_computed():
    from torch.nn.utils.parametrizations import weight_norm

    model = nn.Sequential(weight_norm(nn.Conv2d(3, 8, 4, padding="same"))).eval()
    x = torch.randn(1, 3, 9, 9)
    graph = hwopt.import_model(model, x)
    assert torch.allclose(graph.to_torch().eval()(x), model(x), atol=1e-6)
