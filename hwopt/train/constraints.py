"""What is usually measured after training, as constraints that are kept to while training.

Source: our reading of the abstract of Kag's distributionally constrained learning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.utils import _pytree as pytree

from hwopt.data import Batch, leaves
from hwopt.errors import HwoptError
from hwopt.tasks import Classification, Task

Level = float | Callable[[float], float]
"""What a constraint allows, or a function from the progress of the training, 0 to 1, to it."""


class Constraint:
    """Base: a value of the network on a batch that is to be at most ``level``.

    Args:
        level: or a function of the progress, such as one that tightens.

    Attributes:
        needs_classes: whether outputs must be logits, and targets classes.
        task: of the training.
    """

    needs_classes: ClassVar[bool] = False
    task: Task = Classification()

    def __init__(self, level: Level) -> None:
        self.level = level

    def __str__(self) -> str:
        level = self.level if isinstance(self.level, float | int) else "scheduled"
        return f"{type(self).__name__} {level}"

    def allowed(self, progress: float) -> float:
        """Return the level at a progress in [0, 1]."""
        return self.level(progress) if callable(self.level) else self.level

    def value(self, model: nn.Module, inputs: Any, outputs: Any, targets: Any) -> Tensor:
        """Return the value, a scalar with gradients.

        Args:
            model: in training mode.
            inputs, outputs, targets: of one batch; where classes are needed, outputs are logits,
                float (N, classes).
        """
        raise NotImplementedError

    def _losses(
        self, model: nn.Module, parameters: Mapping[str, Tensor], inputs: Any, targets: Any
    ) -> Tensor:
        """Return the task's loss of every sample with other parameters.

        The model's own statistics stay.
        """
        statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
        state, given = {**parameters, **statistics}, self.task.feed(inputs)
        if isinstance(given, dict):
            outputs = functional_call(model, state, (), given)
        else:
            outputs = functional_call(model, state, given)
        return self.task.loss(outputs, Batch(inputs, targets))


class EntropyFloor(Constraint):
    """The mean entropy of predictions, in nats, is at least ``least``.

    >>> uniform, sharp = torch.zeros(1, 4), torch.tensor([[100.0, 0.0, 0.0, 0.0]])
    >>> floor = EntropyFloor(1.0)
    >>> [round(floor.value(nn.Identity(), x, x, x).item(), 4) for x in (uniform, sharp)]
    [-0.3863, 1.0]
    """

    needs_classes = True

    def __init__(self, least: float) -> None:
        super().__init__(0.0)
        self.least = least

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.least}"

    def value(self, model: nn.Module, inputs: Any, outputs: Any, targets: Any) -> Tensor:
        """Return ``least`` minus the mean entropy."""
        logarithms = functional.log_softmax(outputs, 1)
        return self.least + (logarithms.exp() * logarithms).sum(1).mean()


class ClassMarginal(Constraint):
    """The divergence KL(prior || mean prediction) is at most ``level``, in nats.

    Args:
        prior: probabilities of the classes; None has all alike.
        level: see above.
    """

    needs_classes = True

    def __init__(self, level: Level, prior: Sequence[float] | None = None) -> None:
        super().__init__(level)
        if prior is not None and (min(prior) < 0 or not math.isclose(sum(prior), 1, rel_tol=1e-4)):
            raise HwoptError("ClassMarginal: the prior must be probabilities that sum to 1")
        self.prior = prior

    def __str__(self) -> str:
        return f"{super().__str__()}{f' prior {list(self.prior)}' if self.prior else ''}"

    def value(self, model: nn.Module, inputs: Any, outputs: Any, targets: Any) -> Tensor:
        """Return the divergence on the batch."""
        mean = outputs.softmax(1).mean(0)
        prior = torch.full_like(mean, 1 / len(mean))
        if self.prior is not None:
            prior = mean.new_tensor(self.prior)
        return functional.kl_div(mean.clamp(min=1e-12).log(), prior, reduction="sum")


class HardExamples(Constraint):
    """The mean of hardness x cross entropy is at most ``level``.

    The hardness of a sample is 1 - the probability of its class, taken as it is (our reading).
    """

    needs_classes = True

    def value(self, model: nn.Module, inputs: Any, outputs: Any, targets: Any) -> Tensor:
        """Return the mean over the batch."""
        losses = functional.cross_entropy(outputs, targets, reduction="none")
        return ((1 - (-losses).exp()).detach() * losses).mean()


class InputGradient(Constraint):
    """The mean norm of the gradient of the task's loss at a sample is at most ``level``.

    A local Lipschitz constant; another forward pass and a backward pass through it.
    """

    def value(self, model: nn.Module, inputs: Any, outputs: Any, targets: Any) -> Tensor:
        """Return the mean over the batch."""
        inputs = pytree.tree_map(_watched, inputs)
        watched = [one for one in leaves(inputs) if one.requires_grad]
        if not watched:
            raise HwoptError("InputGradient: the inputs are whole numbers, which have no gradient")
        losses = self._losses(model, dict(model.named_parameters()), inputs, targets)
        gradients = torch.autograd.grad(losses.sum(), watched, create_graph=True)
        squares = torch.stack([one.flatten(1).square().sum(1) for one in gradients]).sum(0)
        # A norm has no gradient at zero.
        return (squares + 1e-12).sqrt().mean()


class Sharpness(Constraint):
    """The loss a step of ``radius`` uphill is at most ``level`` above the loss.

    L(w + radius g / |g|) - L(w), g the gradient of L; the direction is taken as it is. Two more
    passes.
    """

    def __init__(self, level: Level, radius: float = 0.05) -> None:
        super().__init__(level)
        if not radius > 0:
            raise HwoptError(f"Sharpness: the radius must be positive, not {radius}")
        self.radius = radius

    def __str__(self) -> str:
        return f"{super().__str__()} radius {self.radius}"

    def value(self, model: nn.Module, inputs: Any, outputs: Any, targets: Any) -> Tensor:
        """Return the difference on the batch."""
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        loss = self._losses(model, trained, inputs, targets).mean()
        gradients = torch.autograd.grad(
            loss, list(trained.values()), retain_graph=True, materialize_grads=True
        )
        norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt().clamp(min=1e-12)
        uphill = {
            name: parameter + self.radius * gradient / norm
            for (name, parameter), gradient in zip(trained.items(), gradients, strict=True)
        }
        return self._losses(model, uphill, inputs, targets).mean() - loss


def _watched(one: Tensor) -> Tensor:
    """Return a copy of an input whose gradient is asked for, if it has one."""
    return one.detach().requires_grad_(one.is_floating_point())
