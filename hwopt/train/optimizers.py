"""Optimizers by name, and any other torch optimizer through a function."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from hwopt import plugins
from hwopt.errors import HwoptError, unknown_name
from hwopt.optim.behaviour import Behaviour, TrainingFacts, behaviour
from hwopt.tasks import Task

#: Options of torch's own: sgd has Nesterov's momentum.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9, "nesterov": True, "fused": True},
    "adamw": {"fused": True},
}

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
        optimizer: a name of the entry points ``hwopt.optimizers``, or a factory; a factory's own
            weight decay and options count, not these.
        model: whose parameters to train.
        learning_rate: the highest one of the schedule; the largest step size of ``alig``,
            ``alig-plus`` and ``borat``, that of the first steps of ``vcsg``.
        weight_decay: of torch's own for weights, not for biases and batch norms; of ``alig-plus``
            for all. The others have none.
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
    kind, chosen = _kind(optimizer), dict(options or {})
    asks = kind if issubclass(kind, Behaviour) else Behaviour
    training = TrainingFacts(model, learning_rate, weight_decay, samples, epochs)
    given = asks.training_arguments(training)
    groups: list[Any] = parameters
    if asks is Behaviour:
        groups = _by_decay(parameters, weight_decay)
    _check_options(optimizer, kind, given, chosen)
    try:
        return kind(groups, **{**_DEFAULTS.get(optimizer, {}), **given, **chosen})
    except (TypeError, ValueError) as error:  # of torch
        raise HwoptError(f"{optimizer} refuses its options: {error}") from None


def needs_task_alone(optimizer: str) -> bool:
    """Return whether an optimizer, by its name, trains with the loss of the task alone."""
    kind = _kind(optimizer)
    return issubclass(kind, Behaviour) and (kind.reaches_zero or kind.per_sample_loss)


def check_use(
    optimizer: Optimizer,
    *,
    schedule: str | None,
    task: Task,
    losses: Sequence[str] = (),
    terms: Sequence[str] = (),
) -> None:
    """Refuse a training that an optimizer cannot do.

    Args:
        optimizer: of the training.
        schedule: the name of its schedule of learning rates.
        task: what is learned.
        losses: names of what changes the loss, and ...
        terms: ... of everything that acts on the training.

    Raises:
        HwoptError: with what does not go together, and what to do.
    """
    asks = behaviour(optimizer)
    if asks.reaches_zero and (losses or not task.loss_can_be_zero):
        what = losses[0] if losses else f"the task {task}"
        raise HwoptError(
            f"{optimizer} needs a loss that can become 0, but not with {what}: leave it out"
        )
    endless = any(group["lr"] == math.inf for group in optimizer.param_groups)
    if asks.steps_from_loss and terms and endless:
        raise HwoptError(
            f"{optimizer} goes with {terms[0]} only if its learning rate is finite: set one"
        )
    name = type(optimizer).__name__
    if asks.chooses_rate and terms:
        raise HwoptError(f"{name} does not go with {terms[0]}: leave it out")
    if asks.chooses_rate and schedule != "constant":
        raise HwoptError(f"{name} chooses its step sizes itself: the schedule must be constant")
    if asks.per_sample_loss and losses:
        raise HwoptError(
            f"{optimizer} needs the loss of every sample, which is not known with {losses[0]}"
        )


def _kind(name: str) -> type[Optimizer]:
    """Return the class of an optimizer.

    Raises:
        HwoptError: if there is none of the name, or it is no optimizer of torch.
    """
    found = plugins.load(plugins.OPTIMIZERS, name)
    if not (isinstance(found, type) and issubclass(found, Optimizer)):
        shown = plugins.where(plugins.OPTIMIZERS, name)
        raise HwoptError(f"optimizer {name!r} ({shown}) is not a subclass of torch's Optimizer")
    return found


def _check_options(
    name: str, kind: type[Optimizer], given: Mapping[str, Any], options: Mapping[str, Any]
) -> None:
    """Refuse options that the optimizer does not have, or that the training gives."""
    rate, taken = next(iter(given)), {*given, "params", "weight_decay"}
    if rate in options:
        raise HwoptError(f"{rate} of {name} is what learning_rate is: set that")
    both = sorted(taken & options.keys())
    if both:
        raise HwoptError(f"{both[0]} of {name} is what the training gives it: leave it out")
    offered = inspect.signature(kind).parameters.keys() - taken
    unknown = sorted(options.keys() - offered)
    if unknown:
        raise unknown_name(f"option of {name}", unknown[0], sorted(offered))


def _by_decay(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
