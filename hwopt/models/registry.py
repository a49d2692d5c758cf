"""Models by name: described without torch, and built."""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any

from hwopt.errors import HwoptError, unknown_name
from hwopt.models.entries import ENTRIES, Entry, ModelInfo

if TYPE_CHECKING:
    from torch import nn


def names() -> list[str]:
    """Return the names of all models, sorted."""
    return sorted(ENTRIES)


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
    entry = ENTRIES[name]
    module, function = entry.builder.split(":")
    arguments = {**entry.options, **options, "in_channels": described.input_shape[0]}
    if described.num_classes is not None:
        arguments["num_classes"] = described.num_classes
    builder = getattr(importlib.import_module(module), function)
    model: nn.Module = builder(**arguments)
    return model


def _find(name: str, options: dict[str, Any]) -> Entry:
    if name not in ENTRIES:
        raise unknown_name("model", name, ENTRIES)
    entry = ENTRIES[name]
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
