"""From a graph to Relax: what is lowered, decomposed or refused."""

import pytest
import torch
from torch import nn

import hwopt
from hwopt.compiler.lower import lower
from hwopt.compiler.lower.call import Spec, Tensor
from hwopt.compiler.lower.lowering import _compare
from hwopt.errors import HwoptError
from tests.networks import lowered


class Inverts(nn.Module):
    def forward(self, x):
        return torch.linalg.inv(x)


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.stage = nn.Sequential(nn.ReLU(), Inverts())

    def forward(self, x):
        return self.stage(x)


def operators(mod):
    """Return the names of the Relax operators that are called."""
    return [
        str(binding.value.op.name)
        for block in mod["main"].body.blocks
        for binding in block.bindings
        if hasattr(getattr(binding.value, "op", None), "name")
    ]


def test_an_unknown_operator_is_named_with_its_node():
    with pytest.raises(HwoptError) as caught:
        lowered(Outer(), (torch.eye(3)[None],))
    message = str(caught.value)
    assert "linalg_inv" in message and "stage.1" in message and "\n" not in message


def test_images_stand_channels_last_from_the_first_convolution_to_the_last():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU6(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.Sigmoid()
    )
    found = operators(lowered(model, (torch.zeros(1, 3, 16, 16),)))
    assert found.count("relax.permute_dims") == 2
    assert found[0] == found[-1] == "relax.permute_dims"


def test_what_only_renames_axes_moves_nothing():
    """The patches of a vision transformer are where channels last has them."""

    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Conv2d(3, 8, 4, 4)

        def forward(self, x):
            return self.embed(x).flatten(2).transpose(1, 2)

    found = operators(lowered(Patches(), (torch.zeros(1, 3, 16, 16),)))
    assert found == ["relax.permute_dims", "relax.nn.conv2d", "relax.add", "relax.reshape"]


def test_what_does_not_depend_on_the_input_is_computed_now():
    class Positions(nn.Module):
        def forward(self, x):
            return x + torch.arange(x.shape[1]).float().sin()

    assert operators(lowered(Positions(), (torch.zeros(1, 5),))) == ["relax.add"]


def test_a_result_of_another_shape_or_dtype_is_a_fault_of_ours():
    graph = hwopt.import_model(nn.ReLU(), torch.zeros(1, 4))
    (relu,) = graph.nodes()
    wrong = relu.replace(outputs=(hwopt.graph.TensorSpec((1, 5)),))
    graph.replace_node(wrong)
    with pytest.raises(HwoptError, match=r"lowered to float32\[1, 4\], torch says float32\[1, 5\]"):
        lower(graph)
    constant = Tensor(Spec((2,), "int64"), constant=torch.zeros(2, dtype=torch.int64))
    with pytest.raises(HwoptError, match="this is a fault of hwopt"):
        _compare(constant, Spec((2,), "int32"), "node 'x'")


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: torch.fft.fft(x), "complex64 numbers cannot be compiled"),
        (lambda x: nn.functional.dropout(x, 0.5, training=True), "lots that are drawn"),
        (lambda x: x.clamp(max=float("nan")), "NaN as a limit"),
        (
            lambda x: nn.functional.interpolate(x[None, None].byte(), (3, 5), mode="bilinear"),
            "weights and whole numbers",
        ),
        (lambda x: x[x > 0], "depends on the numbers that it reads"),
    ],
)
def test_what_is_refused_is_one_sentence(function, why):
    class Call(nn.Module):
        def forward(self, x):
            return function(x)

    with pytest.raises(HwoptError, match=why):
        lowered(Call(), (torch.ones(2, 4),))


def test_a_tensor_beside_itself_transposed():
    """Both are one tensor of Relax, whose axes have other names."""

    class Squares(nn.Module):
        def forward(self, x):
            y = x.cumsum(1)
            return y @ y.transpose(1, 2) + y.transpose(1, 2) @ y

    x = torch.randn(2, 5, 5)
    found = hwopt.compile(Squares(), x, kernel_trials=0, check=False)(x)
    torch.testing.assert_close(found, Squares()(x))
