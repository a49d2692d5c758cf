"""Binary layers in torch: values, gradients, and their way through a graph and its files."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import hwopt
from hwopt.graph import binary


class Sign(torch.autograd.Function):
    """The definition: the sign forward, the polynomial's derivative backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x < 0, -1.0, 1.0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * torch.where(x.abs() <= 1, 2 - 2 * x.abs(), 0.0)


def conv2d(x, weight, *geometry):
    return functional.conv2d(Sign.apply(x), weight, None, *geometry)


def linear(x, weight):
    return functional.linear(Sign.apply(x), weight)


CASES = {
    "convolution": (binary.CONV2D, conv2d, (2, 6, 7, 5), (4, 6, 3, 3), ([2, 1], [1, 0])),
    "groups": (
        binary.CONV2D,
        conv2d,
        (1, 6, 4, 4),
        (4, 3, 2, 2),
        ([1, 1], [0, 1], [2, 1], 2),
    ),
    "linear": (binary.LINEAR, linear, (3, 5, 7), (4, 7), ()),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_the_definition(name):
    operator, definition, *shapes, rest = CASES[name]
    torch.manual_seed(0)
    tensors = [torch.randn(shape) for shape in shapes]
    tensors[0].view(-1)[:3] = torch.tensor([0.0, -0.0, 1.0])
    ours, theirs = ([t.clone().requires_grad_() for t in tensors] for _ in range(2))
    result, expected = operator(*ours, *rest), definition(*theirs, *rest)
    assert torch.equal(result, expected)
    gradient = torch.randn_like(result)
    result.backward(gradient)
    expected.backward(gradient)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_torch_accepts_the_operators(name):
    operator, _, *shapes, rest = CASES[name]
    tensors = [torch.randn(shape, requires_grad=True) for shape in shapes]
    torch.library.opcheck(operator, (*tensors, *rest))


def test_under_autocast_sums_are_bfloat16():
    with torch.autocast("cpu", torch.bfloat16):
        result = binary.LINEAR(torch.randn(2, 8), torch.ones(3, 8))
    assert result.dtype == torch.bfloat16


class Net(nn.Module):
    """Both operators, called as torch operators."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(8, 3, 3, 3))
        self.matrix = nn.Parameter(torch.randn(2, 8))

    def forward(self, x):
        y = torch.ops.hwopt.binary_conv2d(x, self.kernel, [2, 2], [1, 1])
        return torch.ops.hwopt.binary_linear(y.mean((2, 3)), self.matrix)


def test_a_graph_keeps_binary_layers(tmp_path):
    torch.manual_seed(0)
    model, x = Net(), torch.randn(2, 3, 6, 6)
    graph = hwopt.import_model(model, x)
    assert [node.op for node in graph.nodes()] == ["binary_conv2d", "mean", "binary_linear"]
    assert graph.macs() == 8 * 3 * 3 * 3 * 3 * 3 + 8 * 2
    graph.save(tmp_path)
    loaded = hwopt.Graph.load(tmp_path)
    assert loaded.to_text() == graph.to_text()
    assert torch.equal(loaded.to_torch()(x), model(x))
