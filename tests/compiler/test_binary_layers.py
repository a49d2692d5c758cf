"""Which layers are compiled to kernels on bits, and that they compute what torch does."""

import itertools
import logging

import numpy as np
import pytest
import torch
from torch import nn

import hwopt


class BinaryConv(nn.Module):
    """A shift, a binary convolution, a norm and a shortcut."""

    def __init__(self, inputs, outputs, groups=1, weight=None):
        super().__init__()
        drawn = torch.randn(outputs, inputs // groups, 3, 3).sign()
        self.weight = nn.Parameter(drawn if weight is None else weight(drawn))
        self.shift = nn.Parameter(torch.randn(inputs, 1, 1))
        self.norm = nn.BatchNorm2d(outputs)
        self.groups = groups

    def forward(self, x):
        shifted = x + self.shift
        y = torch.ops.hwopt.binary_conv2d(shifted, self.weight, [1, 1], [1, 1], [1, 1], self.groups)
        return self.norm(y) + x[:, :1]


class BinaryLinear(nn.Module):
    """A binary linear layer on whatever is before the last dimension."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs).sign())

    def forward(self, x):
        return torch.ops.hwopt.binary_linear(x.flatten(2).transpose(1, 2), self.weight)


def compiled(model, shape, folder, change=lambda x: x):
    """Return the artefact, and the largest difference to torch."""
    torch.manual_seed(0)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_var, 0.5, 9.0)
            nn.init.normal_(norm.running_mean)
    x = change(torch.randn(shape))
    artifact = hwopt.compile(model.eval(), x, kernel_trials=0, output=folder / "a")
    with torch.no_grad():
        expected = model(x).numpy()
    return artifact, np.abs(artifact(x.numpy()) - expected).max()


NETS = {
    "two convolutions": lambda: nn.Sequential(BinaryConv(20, 33), nn.PReLU(33), BinaryConv(33, 7)),
    "after a float convolution": lambda: nn.Sequential(nn.Conv2d(20, 16, 1), BinaryConv(16, 32)),
    "linear": lambda: nn.Sequential(nn.Conv2d(20, 40, 3), BinaryLinear(40, 10)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_binary_layers_compute_what_torch_does(name, tmp_path):
    torch.manual_seed(0)
    model = NETS[name]()
    artifact, difference = compiled(model, (1, 20, 6, 7), tmp_path)
    assert difference <= 1e-4
    count = sum(k.calls for k in artifact.manifest.kernels if "binary" in k.name)
    layers = [m for m in model.modules() if isinstance(m, BinaryConv | BinaryLinear)]
    assert count == len(layers)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: BinaryConv(20, 20, groups=4), "it has groups"),
        (
            lambda: BinaryConv(20, 8, weight=lambda drawn: drawn * 0.5),
            "its weights are not +1 and -1, which freeze-binary makes them",
        ),
    ],
)
def test_others_stay_products_of_floats(model, reason, tmp_path, caplog):
    torch.manual_seed(0)
    with caplog.at_level(logging.WARNING, "hwopt"):
        artifact, difference = compiled(model(), (1, 20, 5, 5), tmp_path)
    assert difference <= 1e-4
    assert not any("binary" in kernel.name for kernel in artifact.manifest.kernels)
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [reason]


class Chain(nn.Module):
    """Binary convolutions with scale, norm, PReLU and shift between them; sums come out."""

    def __init__(self, *channels, slope=0.25):
        super().__init__()
        self.first = BinaryConv(channels[0], channels[1])
        self.between = nn.ModuleList()
        self.weights = nn.ParameterList()
        for inputs, outputs in itertools.pairwise(channels[1:]):
            norm = nn.BatchNorm2d(inputs)
            nn.init.normal_(norm.weight)  # what follows falls with half of the sums
            nn.init.normal_(norm.bias)
            norm.weight.data[0] = 0
            self.between.append(nn.Sequential(norm, nn.PReLU(inputs, slope)))
            self.weights.append(torch.randn(outputs, inputs, 3, 3).sign())

    def forward(self, x):
        x = self.first(x)
        for between, weight in zip(self.between, self.weights, strict=True):
            x = torch.ops.hwopt.binary_conv2d(between(x), weight, [2, 1], [1, 1], [1, 1], 1)
        return x


def words_handed_on(artifact):
    """Return the shapes of results that are words of signs."""
    plan = artifact.manifest.plan
    known = {*plan.inputs, *plan.constants}
    values = [v for number, v in enumerate(plan.values) if number not in known]
    return [value.shape for value in values if value.dtype == "uint32"]


def test_layers_hand_signs_on_where_numbers_have_no_other_reader(tmp_path):
    torch.manual_seed(0)
    artifact, difference = compiled(Chain(20, 64, 32, 96, 5), (1, 20, 9, 8), tmp_path)
    assert difference == 0
    assert words_handed_on(artifact) == [(1, 5, 8, 1), (1, 3, 8, 3)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [lambda: Chain(20, 8, 33, 4), lambda: Chain(20, 8, 64, 4, slope=-0.25)],
    ids=["channels do not fill words", "neither grows nor falls"],
)
def test_else_they_hand_on_numbers(model, tmp_path):
    torch.manual_seed(0)
    artifact, difference = compiled(model(), (1, 20, 9, 8), tmp_path)
    assert difference == 0
    assert words_handed_on(artifact) == []


class Between(nn.Module):
    """Two binary linear layers, or convolutions of one pixel, and a function between them."""

    def __init__(self, between, shape=(3, 20), images=False):
        super().__init__()
        self.weights = nn.ParameterList(
            [torch.randn(size, size_before).sign() for size_before, size in ((20, 64), (64, 8))]
        )
        self.constant = nn.Parameter(torch.randn(64))
        self.between, self.shape, self.images = between, shape, images

    def forward(self, x):
        first, second = self.weights
        if self.images:
            layer = torch.ops.hwopt.binary_conv2d
            first, second = first[:, :, None, None], second[:, :, None, None]
        else:
            layer = torch.ops.hwopt.binary_linear
        return layer(self.between(layer(x, first), self.constant), second)


def zeros_of_both_signs(constant):
    signs = torch.where(torch.arange(64) < 32, 0.0, -0.0)
    return torch.where(torch.arange(64) % 2 == 0, signs, constant)


BETWEEN = {
    "nothing": (lambda y, c: y, (3, 20), False, True),
    "a sum": (lambda y, c: y * c + 0.5, (3, 20), False, True),
    "several samples and rows": (lambda y, c: y * c - c, (2, 3, 20), False, True),
    "images of a batch": (lambda y, c: y * c.view(-1, 1, 1) + 1, (3, 20, 4, 5), True, True),
    "one slope": (lambda y, c: torch.prelu(y, c[:1].abs()) - 3, (3, 20), False, True),
    "a ReLU": (lambda y, c: torch.relu(y * c) - 2, (3, 20), False, True),
    "limits": (lambda y, c: torch.clamp(c - y, -3, 3) + 1.5, (3, 20), False, True),
    "slopes of the axis of rows": (lambda y, c: torch.prelu(y, c.abs()), (1, 64, 20), False, False),
    "a division by zero": (lambda y, c: y / zeros_of_both_signs(c), (3, 20), False, False),
    "two readers": (lambda y, c: y + y.mean(-1, keepdim=True), (3, 20), False, False),
    "a constant of more dimensions": (
        lambda y, c: (y + c.view(1, 1, 64)).flatten(0, 1),
        (3, 20),
        False,
        False,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BETWEEN)
def test_what_stands_between_two_layers(name, tmp_path):
    between, shape, images, hands_on = BETWEEN[name]
    torch.manual_seed(0)
    artifact, difference = compiled(Between(between, shape, images), shape, tmp_path)
    assert difference == 0
    assert bool(words_handed_on(artifact)) is hands_on


def test_what_is_not_a_number_counts_as_negative_everywhere(tmp_path):
    def with_nan(x):
        x.view(-1)[::7] = torch.nan
        return x

    torch.manual_seed(0)
    for inputs in (20, 32):  # bit by bit, and eight at once
        model = BinaryLinear(inputs, 8)
        _, difference = compiled(model, (1, inputs, 2, 3), tmp_path / str(inputs), with_nan)
        assert difference == 0


def test_products_of_many_dimensions_run_on_floats(tmp_path, caplog):
    torch.manual_seed(0)
    with caplog.at_level(logging.WARNING, "hwopt"):
        _, difference = compiled(Between(lambda y, c: y + c), (2, 1, 2, 3, 20), tmp_path)
    assert difference <= 1e-4
    assert "its input has 5 dimensions" in caplog.text


def test_a_product_of_one_row_counts_bits(tmp_path):
    torch.manual_seed(0)
    artifact, difference = compiled(Between(lambda y, c: y + c), (20,), tmp_path)
    assert difference <= 1e-4
    assert any(kernel.binary for kernel in artifact.manifest.kernels)
