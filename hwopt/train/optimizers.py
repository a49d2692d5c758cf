"""Optimizers by name, and any other torch optimizer through a function."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from hwopt.errors import HwoptError, unknown_name
from hwopt.optim import ALIG, BORAT, VCSG, ALIGPlus
from hwopt.optim.base import LossOptimizer

#: By name; sgd has Nesterov's momentum of 0.9.
NAMES: dict[str, Callable[..., Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "alig": ALIG,
    "alig-plus": ALIGPlus,
    "borat": BORAT,
    "sgd": torch.optim.SGD,
    "vcsg": VCSG,
}
_CAPPED = ("alig", "alig-plus", "borat")
#: Arguments of optimizers that are arguments of ``fit``.
_OF_FIT = {"params", "num_samples", "num_epochs", "buffers", "weight_decay"}

OptimizerFactory = Callable[[list[nn.Parameter], float], Optimizer]
"""From trainable parameters and the learning rate to an optimizer."""


def build(
    optimizer: str | OptimizerFactory,
    model: nn.Module,
    learning_rate: float,
    weight_decay: float,
    *,
    samples: int = 1,
    epochs: int = 1,
    options: Mapping[str, Any] | None = None,
) -> Optimizer:
    """Make an optimizer for the parameters of ``model`` that require gradients.

    Args:
        optimizer: a name of :data:`NAMES`, or a factory; a factory's own weight decay and options
            count, not these.
        model: whose parameters to train.
        learning_rate: the highest one of the schedule; the largest step size of ``alig``,
            ``alig-plus`` and ``borat``, that of the first steps of ``vcsg``.
        weight_decay: of ``sgd`` and ``adamw`` for weights, not for biases and batch norms; of
            ``alig-plus`` for all. The others have none.
        samples, epochs: of the training.
        options: more arguments of the optimizer, such as ``pieces`` of ``borat``.

    Raises:
        HwoptError: on an unknown name or option, a value that the optimizer refuses, or a model
            without trainable parameters.

    >>> optimizer = build("sgd", nn.Linear(2, 3), 0.1, 5e-4)
    >>> [group["weight_decay"] for group in optimizer.param_groups]
    [0.0005, 0.0]
    >>> build("borat", nn.Linear(2, 3), 0.1, 0.0, options={"pieces": 5}).pieces
    5
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise HwoptError("the model has no parameter that requires gradients: nothing to train")
    if not isinstance(optimizer, str):
        return optimizer(parameters, learning_rate)
    arguments: dict[str, dict[str, Any]] = {
        "sgd": {"momentum": 0.9, "nesterov": True, "fused": True},
        "adamw": {"fused": True},
        "alig-plus": {"num_samples": samples, "num_epochs": epochs, "weight_decay": weight_decay},
        "vcsg": {"num_samples": samples, "buffers": model.buffers()},
    }
    if optimizer not in NAMES:
        raise unknown_name("optimizer", optimizer, NAMES)
    groups: list[Any] = parameters
    if optimizer in ("sgd", "adamw"):
        groups = _by_decay(parameters, weight_decay)
    if optimizer == "vcsg":
        learning_rate = VCSG.smoothness_for(learning_rate, samples)
    given = arguments.get(optimizer, {}) | dict(options or {})
    factory = NAMES[optimizer]
    second = "smoothness" if optimizer == "vcsg" else "max_lr" if optimizer in _CAPPED else "lr"
    _check_options(optimizer, factory, second, options or {})
    try:
        return factory(groups, **{second: learning_rate}, **given)
    except (TypeError, ValueError) as error:  # of torch
        raise HwoptError(f"{optimizer} refuses its options: {error}") from None


def check_use(
    optimizer: Optimizer,
    *,
    schedule: str | None,
    label_smoothing: float,
    losses: Sequence[str] = (),
    terms: Sequence[str] = (),
    own_loss: bool = False,
) -> None:
    """Refuse a training that an optimizer cannot do.

    Args:
        optimizer: of the training.
        schedule: the name of its schedule of learning rates.
        label_smoothing: of its loss.
        losses: names of what changes the loss, and ...
        terms: ... of everything that acts on the training.
        own_loss: the loss is not the cross entropy.

    Raises:
        HwoptError: with what does not go together, and what to do.
    """
    if isinstance(optimizer, ALIG | BORAT) and (losses or label_smoothing):
        what = losses[0] if losses else f"label_smoothing={label_smoothing}"
        raise HwoptError(
            f"{optimizer} needs a loss that can become 0, but not with {what}: leave it out"
        )
    endless = any(group["lr"] == math.inf for group in optimizer.param_groups)
    if isinstance(optimizer, LossOptimizer) and terms and endless:
        raise HwoptError(
            f"{optimizer} goes with {terms[0]} only if its learning rate is finite: set one"
        )
    if isinstance(optimizer, VCSG) and terms:
        raise HwoptError(f"VCSG does not go with {terms[0]}: leave it out")
    if isinstance(optimizer, VCSG) and schedule != "constant":
        raise HwoptError("VCSG chooses its step sizes itself: the schedule must be constant")
    if isinstance(optimizer, ALIGPlus) and (own_loss or losses):
        what = "your own" if own_loss else f"that of {losses[0]}"
        raise HwoptError(f"{optimizer} needs the cross entropy of every sample, not {what}")


def steps_per_update(optimizer: Optimizer) -> int:
    """Return how many calls of ``step`` an optimizer takes to change the weights for good.

    Between them those of ``BORAT`` are at auxiliary points.
    """
    return optimizer.steps_per_update if isinstance(optimizer, BORAT) else 1


def _check_options(
    name: str, factory: Callable[..., Optimizer], rate: str, options: Mapping[str, Any]
) -> None:
    """Refuse options that the optimizer does not have, or that are arguments of ``fit``."""
    if rate in options:
        raise HwoptError(f"{rate} of {name} is what learning_rate is: set that")
    taken = sorted(_OF_FIT & options.keys())
    if taken:
        raise HwoptError(f"{taken[0]} of {name} is what the training gives it: leave it out")
    offered = inspect.signature(factory).parameters.keys() - _OF_FIT - {rate}
    unknown = sorted(options.keys() - offered)
    if unknown:
        raise unknown_name(f"option of {name}", unknown[0], sorted(offered))


def _by_decay(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
