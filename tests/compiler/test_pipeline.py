import numpy as np
import pytest
import torch
import tvm
from torch import nn

from hwopt import targets
from hwopt.compiler.pipeline import build
from hwopt.compiler.plan import INFERENCE, aligned
from hwopt.targets.database import RECORDS
from tests.networks import lowered

HOST = targets.get("host")


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HWOPT_HOME", str(tmp_path))
    return tmp_path


class Residual(nn.Module):
    """A convolutional net with odd channel counts, a shortcut and a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 13, 3, 1, 1)
        self.left = nn.Conv2d(13, 24, 3, 2, 1)
        self.right = nn.Conv2d(13, 24, 1, 2)
        self.depthwise = nn.Conv2d(24, 24, 3, 1, 1, groups=24)
        self.grouped = nn.Conv2d(24, 12, 3, 1, 1, groups=2)
        self.classify = nn.Linear(12, 10)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(self.left(x) + self.right(x))
        x = nn.functional.hardswish(self.depthwise(x))
        x = nn.functional.max_pool2d(self.grouped(x), 2)
        return self.classify(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Several(nn.Module):
    """Several inputs, an integer one among them, and several outputs."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, x, y, k):
        z = torch.cat([x, y], 1)
        return self.linear(z).softmax(-1), k * 2 + 1, z.sum()


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 32)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, activation="gelu", batch_first=True)

    def forward(self, tokens):
        return self.layer(self.embed(tokens)).mean(1)


def conv1d():
    return nn.Sequential(nn.Conv1d(3, 12, 5, 2, 2), nn.Sigmoid(), nn.Conv1d(12, 7, 3, dilation=2))


def autoencoder():
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8), nn.Linear(8, 64))


MODELS = {
    "residual": (Residual, lambda: (torch.randn(1, 3, 20, 20),)),
    "residual, batch 3": (Residual, lambda: (torch.randn(3, 3, 9, 9),)),
    "several": (Several, lambda: (torch.randn(3, 5), torch.randn(3, 3), torch.arange(7))),
    "encoder": (Encoder, lambda: (torch.randint(0, 50, (2, 9)),)),
    "conv1d": (conv1d, lambda: (torch.randn(2, 3, 50),)),
    "autoencoder": (autoencoder, lambda: (torch.randn(1, 64),)),
}


def execute(result, inputs):
    plan = result.model.plan
    arrays = dict(zip(plan.inputs, [value.numpy() for value in inputs], strict=True))
    arrays.update({number: plan.values[number].empty() for number in plan.results})
    tensors = {number: tvm.runtime.tensor(array) for number, array in arrays.items()}
    memories = (result.model.constants, aligned(plan.workspace().bytes))
    library = tvm.runtime.load_module(str(result.library))
    library[INFERENCE](*tensors.values(), *map(tvm.runtime.tensor, memories))
    return [tensors[number].numpy() for number in plan.outputs]


def compare(module, result, inputs):
    with torch.inference_mode():
        expected = module.eval()(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    actual = execute(result, inputs)
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_compiled_equals_torch(name):
    torch.manual_seed(0)
    create, make_inputs = MODELS[name]
    module, inputs = create(), make_inputs()
    result = build(lowered(module, inputs), HOST, kernel_trials=0)
    compare(module, result, inputs)
    assert all(kernel.candidates_measured == 0 for kernel in result.kernels)
    assert all(kernel.calls >= 1 for kernel in result.kernels)


@pytest.mark.parametrize(("channels", "padding"), [(3, 1), (3, 0), (8, 1)])
def test_a_convolution_reads_the_input_in_the_layout_that_it_has(channels, padding):
    torch.manual_seed(0)
    inputs = (torch.randn(1, channels, 20, 20),)
    module = nn.Sequential(nn.Conv2d(channels, 16, 3, 2, padding), nn.ReLU())
    result = build(lowered(module, inputs), HOST, kernel_trials=0)
    compare(module, result, inputs)
    assert [kernel.name for kernel in result.kernels if "conv2d" in kernel.name] == [
        "transpose_fused_conv2d_add_relu"
    ]
    assert "transpose" not in {call.kernel for call in result.model.plan.calls}


def test_what_is_computed_before_the_first_convolution_is_computed_once():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(3, 16, 3)

        def forward(self, x):
            return self.convolution(torch.sigmoid(x))

    torch.manual_seed(0)
    inputs = (torch.randn(1, 3, 20, 20),)
    module = Scaled()
    result = build(lowered(module, inputs), HOST, kernel_trials=0)
    compare(module, result, inputs)
    (first, *_) = [call.kernel for call in result.model.plan.calls]
    assert "sigmoid" in first and "conv2d" not in first


def test_convolutions_take_a_template_and_reports_say_so():
    inputs = (torch.randn(1, 3, 20, 20),)
    result = build(lowered(Residual(), inputs), HOST, kernel_trials=0)
    roads = {kernel.name: kernel.road for kernel in result.kernels}
    convolutions = {road for name, road in roads.items() if "conv2d" in name or "dense" in name}
    assert convolutions == {"template:register-tile"}


@pytest.mark.slow
def test_a_full_database_measures_nothing(own_folder):
    inputs = (torch.randn(1, 3, 8, 8),)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    calls = []
    first = build(
        lowered(module, inputs), HOST, kernel_trials=2, progress=lambda *a: calls.append(a)
    )
    measured = {kernel.name: kernel.candidates_measured for kernel in first.kernels}
    assert max(measured.values()) == 2
    assert all(k.median_us for k in first.kernels if "conv2d" in k.name)
    assert calls[-1][:2] == (len(first.kernels), len(first.kernels))
    (records,) = own_folder.glob(f"kernels/*/{RECORDS}")
    before = records.read_text()
    # Other weights, another object, the same shapes: the same kernels.
    again = build(
        lowered(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), inputs), HOST, kernel_trials=2
    )
    assert sum(kernel.candidates_measured for kernel in again.kernels) == 0
    assert records.read_text() == before
    assert [k.median_us for k in again.kernels] == [k.median_us for k in first.kernels]


class Product(nn.Module):
    def forward(self, x, y):
        return torch.matmul(x, y)


@pytest.mark.slow
def test_kernels_without_a_template_are_searched_and_remembered():
    inputs = (torch.randn(64, 64), torch.randn(64, 64))
    first = build(lowered(Product(), inputs), HOST, kernel_trials=4)
    (kernel,) = first.kernels
    assert kernel.road == "search"
    assert 1 <= kernel.candidates_measured <= 4
    compare(Product(), first, inputs)
    (again,) = build(lowered(Product(), inputs), HOST, kernel_trials=4).kernels
    assert again.candidates_measured == 0
    assert again.median_us == kernel.median_us


def test_kernels_without_a_valid_record_are_reported():
    inputs = (torch.randn(64, 64), torch.randn(64, 64))
    (kernel,) = build(lowered(Product(), inputs), HOST, kernel_trials=0).kernels
    assert (kernel.road, kernel.median_us) == ("fallback", None)


def separable(channels=24, outputs=16):
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, 1, 1, groups=channels),
        nn.ReLU6(),
        nn.Conv2d(channels, outputs, 1),
        nn.Hardswish(),
    )


class ReadTwice(nn.Module):
    """The depthwise result is read by the 1x1 convolution and by what follows it."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2d(16, 16, 3, 1, 1, groups=16)
        self.pointwise = nn.Conv2d(16, 16, 1)

    def forward(self, x):
        x = torch.relu(self.depthwise(x))
        return x + self.pointwise(x)


class Residual1x1(nn.Module):
    """The depthwise result is only added to a 1x1 convolution of something else."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2d(16, 16, 3, 1, 1, groups=16)
        self.pointwise = nn.Conv2d(16, 16, 1)

    def forward(self, x):
        return torch.relu(self.pointwise(x) + torch.relu(self.depthwise(x)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("create", "channels", "merged"),
    [
        (separable, 24, True),
        (lambda: nn.Sequential(separable(), separable(16, 32)), 24, True),
        (lambda: separable(outputs=13), 24, False),  # a rest of channels
        (ReadTwice, 16, True),
        (Residual1x1, 16, False),
    ],
)
def test_depthwise_and_1x1_convolutions_become_one_kernel(create, channels, merged):
    torch.manual_seed(0)
    module, x = create(), torch.randn(2, channels, 11, 7)
    result = build(lowered(module, (x,)), HOST, kernel_trials=0)
    roads = [kernel.road for kernel in result.kernels]
    assert ("template:depthwise-separable" in roads) == merged
    compare(module, result, (x,))


ACTIVATIONS = (
    nn.ReLU6,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Hardtanh,
    nn.SiLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.GELU,
    nn.LeakyReLU,
    nn.ELU,
)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda kind: kind.__name__)
def test_activations_are_part_of_the_convolution_before_them(activation):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 16, 3), activation(), nn.Conv2d(16, 8, 3))
    x = 3 * torch.randn(1, 3, 12, 12)
    result = build(lowered(module, (x,)), HOST, kernel_trials=0)
    called = [kernel.name for kernel in result.kernels if kernel.calls]
    # The layout changes inside the first convolution and at the output only.
    assert sorted("conv2d" in name for name in called) == [False, True, True], called
    compare(module, result, (x,))
