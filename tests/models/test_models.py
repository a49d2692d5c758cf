"""The zoo: published sizes, other input shapes, and errors."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import hwopt
from hwopt import models
from hwopt.errors import HwoptError

# an input shape other than the published one
OTHER_SHAPES = {
    "autoencoder": (64,),
    "ds_cnn": (2, 30, 12),
    "mobilenet_v1": (1, 64, 48),
    "mobilenet_v1_025": (1, 28, 28),
    "mobilenet_v2": (1, 64, 64),
    "mobilenet_v2_substituted": (1, 64, 64),
    "resnet18": (1, 64, 64),
    "resnet20": (1, 28, 28),
    "resnet32": (1, 28, 28),
    "resnet_global": (1, 28, 28),
    "resnet8": (1, 28, 28),
    "single_conv_resnet20": (1, 28, 28),
}


def count_macs(model: nn.Module, x: torch.Tensor) -> int:
    """Count the multiply-accumulates of convolutions and linear layers by forward hooks."""
    total = 0

    def count(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += output.numel() * module.in_features

    handles = [module.register_forward_hook(count) for module in model.modules()]
    with torch.no_grad():
        model.eval()(x)
    for handle in handles:
        handle.remove()
    return total


def count_parameters(model: nn.Module, statistics: bool) -> int:
    """Count trainable values, and running means and variances where ``statistics``."""
    total = sum(p.numel() for p in model.parameters())
    if statistics:
        total += sum(b.numel() for name, b in model.named_buffers() if "running_" in name)
    return total


@pytest.mark.parametrize("name", models.names())
def test_published_sizes(name: str) -> None:
    info = models.info(name)
    model = models.create(name)
    assert count_parameters(model, info.counts_statistics) == info.published_parameters
    assert count_macs(model, torch.zeros(1, *info.input_shape)) == info.published_macs


@pytest.mark.parametrize("name", models.names())
def test_output_shape_and_finite_gradients(name: str) -> None:
    info = models.info(name, input_shape=OTHER_SHAPES[name])
    model = models.create(name, input_shape=OTHER_SHAPES[name])
    output = model(torch.randn(3, *info.input_shape))
    expected = info.input_shape if info.num_classes is None else (info.num_classes,)
    assert output.shape == (3, *expected)
    assert info.published_parameters is None and info.published_macs is None
    output.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(("classes", "parameters"), [(10, 162_000), (100, 168_000)])
def test_resnet_global_has_the_published_size(classes: int, parameters: int) -> None:
    model = models.create("resnet_global", num_classes=classes)
    graph = hwopt.import_model(model, torch.zeros(1, 3, 32, 32))
    assert graph.num_parameters() == pytest.approx(parameters, rel=0.005)
    # With the products of the time steps, which hooks on convolutions do not see.
    assert graph.macs() == pytest.approx(15_000_000, rel=0.005)


@pytest.mark.parametrize(("reduction", "size"), [(32, 1), (16, 2), (8, 4), (4, 8)])
def test_mobilenet_v2_reduces_small_images_less(reduction: int, size: int) -> None:
    model = models.create("mobilenet_v2", input_shape=(1, 32, 32), reduction=reduction).eval()
    assert model.last(model.stages(model.stem(torch.zeros(1, 1, 32, 32)))).shape[2] == size


def test_resnet8_submodule_names() -> None:
    modules = dict(models.create("resnet8").named_modules())
    assert {"stem.conv", "stages.1.conv1", "stages.1.shortcut.conv", "head.linear"} <= set(modules)
    assert "stages.0.shortcut.conv" not in modules


def test_ds_cnn_keeps_the_published_feature_map() -> None:
    model = models.create("ds_cnn")
    assert model.stem(torch.zeros(1, 1, 49, 10)).shape == (1, 64, 25, 5)


def test_in_channels_keeps_the_size() -> None:
    assert models.info("resnet8", in_channels=1).input_shape == (1, 32, 32)
    assert models.create("resnet8", in_channels=1)(torch.zeros(1, 1, 32, 32)).shape == (1, 10)


def test_width_options() -> None:
    assert models.create("resnet8", width=8).head.linear.in_features == 32
    assert models.create("mobilenet_v1", width_multiplier=0.5).head.linear.in_features == 512
    assert models.info("resnet8", width=16).published_parameters == 78_666
    assert models.info("resnet8", width=8).published_parameters is None


def test_same_seed_same_weights() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(models.create("resnet8").state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet9", {}, "did you mean 'resnet8'"),
        ("resnet8", {"widht": 8}, "did you mean 'width'"),
        ("resnet8", {"width": 0}, "positive whole number"),
        ("resnet8", {"width": 1.5}, "positive whole number"),
        ("mobilenet_v1", {"width_multiplier": -1}, "positive number"),
        ("resnet8", {"num_classes": 0}, "positive whole number"),
        ("resnet8", {"input_shape": (28, 28)}, "3 positive sizes"),
        ("resnet8", {"input_shape": (1, 28, 28), "in_channels": 3}, "contradicts"),
        ("autoencoder", {"num_classes": 2}, "no classifier"),
    ],
)
def test_errors(name: str, arguments: dict, message: str) -> None:
    with pytest.raises(HwoptError, match=message):
        models.create(name, **arguments)
    with pytest.raises(HwoptError, match=message):
        models.info(name, **arguments)


def test_listing_models_does_not_import_torch() -> None:
    code = "import sys, hwopt.models as m; m.names(); m.info('resnet8'); assert 'torch' not in "
    subprocess.run([sys.executable, "-c", code + "sys.modules"], check=True)
