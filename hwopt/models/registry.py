"""What models exist: their names, options and published sizes. Imports no torch."""

from __future__ import annotations

import dataclasses
import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hwopt.errors import HwoptError, unknown_name

if TYPE_CHECKING:
    from torch import nn

_TINY = "MLPerf Tiny (Banbury et al. 2021, arXiv:2106.07597), github.com/mlcommons/tiny"


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What is known of a model without building it.

    ``published_parameters`` counts trainable values, and also the running mean and variance of
    batch norm when ``counts_statistics`` is true (as Keras does in its totals).
    ``published_macs`` counts the multiply-accumulates of convolutions and linear layers for one
    input of ``input_shape``. Both are None where the options differ from the published model.
    """

    name: str
    input_shape: tuple[int, ...]
    """Shape of one input without the batch: (channels, height, width), or (features,)."""
    num_classes: int | None
    """Width of the output; None for a model that is no classifier."""
    source: str
    published_parameters: int | None
    published_macs: int | None
    counts_statistics: bool


@dataclasses.dataclass(frozen=True)
class _Entry:
    """One line of the registry: where the builder is, its options, and the description."""

    builder: str
    """``module:function``; called with in_channels, num_classes and the options."""
    info: ModelInfo
    options: MappingProxyType[str, Any]


def _entry(builder: str, info: ModelInfo, **options: Any) -> _Entry:
    return _Entry(f"hwopt.models.{builder}", info, MappingProxyType(options))


_ENTRIES = {
    entry.info.name: entry
    for entry in (
        _entry(
            "autoencoder:AutoEncoder",
            ModelInfo("autoencoder", (640,), None, _TINY, 269_992, 264_192, True),
            width=128,
            bottleneck=8,
        ),
        _entry(
            "ds_cnn:DsCnn",
            ModelInfo("ds_cnn", (1, 49, 10), 12, _TINY, 24_908, 2_656_768, True),
            width=64,
        ),
        _entry(
            "mobilenet_v1:MobileNetV1",
            ModelInfo(
                "mobilenet_v1",
                (3, 224, 224),
                1000,
                "MobileNets (Howard et al. 2017, arXiv:1704.04861)",
                4_231_976,
                568_740_352,
                False,
            ),
            width_multiplier=1.0,
        ),
        _entry(
            "mobilenet_v1:mobilenet_v1_025",
            ModelInfo("mobilenet_v1_025", (3, 96, 96), 2, _TINY, 221_794, 7_489_664, True),
            width_multiplier=0.25,
        ),
        _entry(
            "mobilenet_v2:MobileNetV2",
            ModelInfo(
                "mobilenet_v2",
                (3, 224, 224),
                1000,
                "MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), torchvision's variant",
                3_504_872,
                300_774_272,
                False,
            ),
            width_multiplier=1.0,
            reduction=32,
        ),
        _entry(
            "mobilenet_v2:mobilenet_v2_substituted",
            ModelInfo(
                "mobilenet_v2_substituted",
                (3, 224, 224),
                1000,
                "MobileNetV2 with Global layers (Kag and Saligrama 2022) and interpolation "
                "(Kag 2023)",
                2_956_744,
                172_041_248,
                False,
            ),
            width_multiplier=1.0,
            reduction=32,
        ),
        _entry(
            "resnet:ResNet18",
            ModelInfo(
                "resnet18",
                (3, 224, 224),
                1000,
                "Deep Residual Learning (He et al. 2015, arXiv:1512.03385), torchvision's variant",
                11_689_512,
                1_814_073_344,
                False,
            ),
            width=64,
        ),
        *(
            _entry(
                "cifar_resnet:CifarResNet",
                ModelInfo(
                    f"resnet{6 * blocks + 2}",
                    (3, 32, 32),
                    10,
                    "Deep Residual Learning (He et al. 2015, arXiv:1512.03385), with 1x1 shortcuts",
                    parameters,
                    macs,
                    False,
                ),
                width=16,
                blocks=blocks,
            )
            for blocks, parameters, macs in ((3, 272_474, 40_813_184), (5, 466_906, 69_124_736))
        ),
        _entry(
            "cifar_resnet:ResNetGlobal",
            ModelInfo(
                "resnet_global",
                (3, 32, 32),
                10,
                "Global layers (Kag and Saligrama 2022)",
                161_402,
                14_779_008,
                False,
            ),
            width=16,
            blocks=1,
            steps=1,
        ),
        _entry(
            "resnet:ResNet8",
            ModelInfo("resnet8", (3, 32, 32), 10, _TINY, 78_666, 12_501_632, True),
            width=16,
        ),
        _entry(
            "resnet:SingleConvResNet20",
            ModelInfo(
                "single_conv_resnet20",
                (3, 32, 32),
                10,
                "BNEW (Paren et al. 2022), before it is made binary",
                272_474,
                10_535_552,
                False,
            ),
            width=16,
        ),
    )
}


def names() -> list[str]:
    """Return the names of all models, sorted."""
    return sorted(_ENTRIES)


def info(
    name: str,
    *,
    num_classes: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    in_channels: int | None = None,
    **options: Any,
) -> ModelInfo:
    """Describe the model that :func:`create` would build with the same arguments.

    Raises:
        HwoptError: on an unknown name or option, or a shape the model cannot take.

    >>> info("resnet8").published_parameters
    78666
    >>> info("resnet8", input_shape=(1, 28, 28)).published_parameters is None
    True
    """
    entry = _find(name, options)
    shape = _input_shape(entry.info, input_shape, in_channels)
    classes = _num_classes(entry.info, num_classes)
    result = dataclasses.replace(entry.info, input_shape=shape, num_classes=classes)
    if result == entry.info and {**entry.options, **options} == entry.options:
        return result
    return dataclasses.replace(result, published_parameters=None, published_macs=None)


def create(
    name: str,
    *,
    num_classes: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    in_channels: int | None = None,
    **options: Any,
) -> nn.Module:
    """Build a model with fresh random weights (seed them with ``torch.manual_seed``).

    Args:
        name: one of :func:`names`.
        num_classes: width of the output; the published one if None.
        input_shape: shape of one float32 input without the batch, such as (1, 28, 28).
        in_channels: changes only the channels of the published input shape.
        options: ``width`` (channels of the first stage: resnets, ds_cnn; hidden
            features: autoencoder), ``width_multiplier`` (the MobileNets), ``reduction`` (of rows
            and columns: MobileNetV2), ``blocks`` (of a stage: resnet20, resnet32, resnet_global),
            ``steps`` (of every Global layer: resnet_global), ``bottleneck`` (autoencoder).

    Returns:
        A module from float32 (N, \\*input_shape) to float32 logits (N, num_classes).
        The autoencoder gives its reconstruction, with the shape of its input.

    Raises:
        HwoptError: on an unknown name or option, or a shape the model cannot take.

    >>> import torch
    >>> model = create("resnet8", num_classes=10, input_shape=(1, 28, 28))
    >>> model(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    described = info(
        name,
        num_classes=num_classes,
        input_shape=input_shape,
        in_channels=in_channels,
        **options,
    )
    entry = _ENTRIES[name]
    module, function = entry.builder.split(":")
    arguments = {**entry.options, **options, "in_channels": described.input_shape[0]}
    if described.num_classes is not None:
        arguments["num_classes"] = described.num_classes
    builder = getattr(importlib.import_module(module), function)
    model: nn.Module = builder(**arguments)
    return model


def _find(name: str, options: dict[str, Any]) -> _Entry:
    if name not in _ENTRIES:
        raise unknown_name("model", name, _ENTRIES)
    entry = _ENTRIES[name]
    for option, value in options.items():
        if option not in entry.options:
            valid = [*entry.options, "in_channels", "input_shape", "num_classes"]
            raise unknown_name(f"option of model {name}", option, valid)
        kinds = (int, float) if isinstance(entry.options[option], float) else (int,)
        if isinstance(value, bool) or not isinstance(value, kinds) or value <= 0:
            kind = "number" if float in kinds else "whole number"
            raise HwoptError(f"model {name}: {option} must be a positive {kind}, not {value!r}")
    return entry


def _input_shape(
    published: ModelInfo, input_shape: tuple[int, ...] | None, in_channels: int | None
) -> tuple[int, ...]:
    """Return the input shape that the two arguments ask for."""
    shape = published.input_shape if input_shape is None else tuple(input_shape)
    if in_channels is not None:
        if input_shape is not None and input_shape[0] != in_channels:
            raise HwoptError(
                f"model {published.name}: in_channels={in_channels} contradicts "
                f"input_shape={shape}; give only input_shape"
            )
        shape = (in_channels, *shape[1:])
    whole = all(isinstance(size, int) and size > 0 for size in shape)
    if not whole or len(shape) != len(published.input_shape):
        raise HwoptError(
            f"model {published.name} takes {len(published.input_shape)} positive sizes without "
            f"the batch, such as {published.input_shape}, not {shape}"
        )
    return shape


def _num_classes(published: ModelInfo, num_classes: int | None) -> int | None:
    if num_classes is None:
        return published.num_classes
    if published.num_classes is None:
        raise HwoptError(f"model {published.name} is no classifier: it takes no num_classes")
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise HwoptError(f"num_classes must be a positive whole number, not {num_classes!r}")
    return num_classes
