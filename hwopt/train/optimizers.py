"""Optimizers by name, and any other torch optimizer through a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from hwopt.errors import HwoptError, unknown_name

OptimizerFactory = Callable[[list[nn.Parameter], float], Optimizer]
"""From trainable parameters and the learning rate to an optimizer."""


def build(
    optimizer: str | OptimizerFactory,
    model: nn.Module,
    learning_rate: float,
    weight_decay: float,
) -> Optimizer:
    """Make an optimizer for the parameters of ``model`` that require gradients.

    Args:
        optimizer: "sgd" (Nesterov momentum 0.9), "adamw", or a factory; a factory's own weight
            decay counts, not ``weight_decay``.
        model: whose parameters to train.
        learning_rate: the highest one of the schedule.
        weight_decay: for weights; not applied to biases and batch norms.

    Raises:
        HwoptError: on an unknown name, or a model without trainable parameters.

    >>> optimizer = build("sgd", nn.Linear(2, 3), 0.1, 5e-4)
    >>> [group["weight_decay"] for group in optimizer.param_groups]
    [0.0005, 0.0]
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise HwoptError("the model has no parameter that requires gradients: nothing to train")
    if not isinstance(optimizer, str):
        return optimizer(parameters, learning_rate)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if optimizer == "sgd":
        return torch.optim.SGD(groups, learning_rate, momentum=0.9, nesterov=True, fused=True)
    if optimizer == "adamw":
        return torch.optim.AdamW(groups, learning_rate, fused=True)
    raise unknown_name("optimizer", optimizer, ["adamw", "sgd"])
