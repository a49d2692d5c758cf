"""The models: where each is built, its options and its published size. Imports no torch."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Any

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
class Entry:
    """One line of the registry: where the builder is, its options, and the description."""

    builder: str
    """``module:function``; called with in_channels, num_classes and the options."""
    info: ModelInfo
    options: MappingProxyType[str, Any]


def _entry(builder: str, info: ModelInfo, **options: Any) -> Entry:
    return Entry(f"hwopt.models.{builder}", info, MappingProxyType(options))


ENTRIES = {
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
