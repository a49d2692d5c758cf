"""What is usually measured after training, as constraints that are kept to while training.

Source: our reading of the abstract of Kag's distributionally constrained learning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from hwopt.errors import HwoptError

Level = float | Callable[[float], float]
"""What a constraint allows, or a function from the progress of the training, 0 to 1, to it."""


class Constraint:
    """Base: a value of the network on a batch that is to be at most ``level``.

    Args:
        level: or a function of the progress, such as one that tightens.
    """

    def __init__(self, level: Level) -> None:
        self.level = level

    def __str__(self) -> str:
        level = self.level if isinstance(self.level, float | int) else "scheduled"
        return f"{type(self).__name__} {level}"

    def allowed(self, progress: float) -> float:
        """Return the level at a progress in [0, 1]."""
        return self.level(progress) if callable(self.level) else self.level

    def value(self, model: nn.Module, inputs: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the value, a scalar with gradients.

        Args:
            model: in training mode.
            inputs, outputs, targets: of one batch; outputs are logits, float (N, classes).
        """
        raise NotImplementedError


class EntropyFloor(Constraint):
    """The mean entropy of predictions, in nats, is at least ``least``.

    >>> uniform, sharp = torch.zeros(1, 4), torch.tensor([[100.0, 0.0, 0.0, 0.0]])
    >>> floor = EntropyFloor(1.0)
    >>> [round(floor.value(nn.Identity(), x, x, x).item(), 4) for x in (uniform, sharp)]
    [-0.3863, 1.0]
    """

    def __init__(self, least: float) -> None:
        super().__init__(0.0)
        self.least = least

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.least}"

    def value(self, model: nn.Module, inputs: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return ``least`` minus the mean entropy."""
        logarithms = functional.log_softmax(outputs, 1)
        return self.least + (logarithms.exp() * logarithms).sum(1).mean()


class ClassMarginal(Constraint):
    """The divergence KL(prior || mean prediction) is at most ``level``, in nats.

    Args:
        prior: probabilities of the classes; None has all alike.
        level: see above.
    """

    def __init__(self, level: Level, prior: Sequence[float] | None = None) -> None:
        super().__init__(level)
        if prior is not None and (min(prior) < 0 or not math.isclose(sum(prior), 1, rel_tol=1e-4)):
            raise HwoptError("ClassMarginal: the prior must be probabilities that sum to 1")
        self.prior = prior

    def __str__(self) -> str:
        return f"{super().__str__()}{f' prior {list(self.prior)}' if self.prior else ''}"

    def value(self, model: nn.Module, inputs: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
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

    def value(self, model: nn.Module, inputs: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over the batch."""
        losses = functional.cross_entropy(outputs, targets, reduction="none")
        return ((1 - (-losses).exp()).detach() * losses).mean()


class InputGradient(Constraint):
    """The mean norm of the cross entropy's gradient at a sample is at most ``level``.

    A local Lipschitz constant; another forward pass and a backward pass through it.
    """

    def value(self, model: nn.Module, inputs: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over the batch."""
        inputs = inputs.detach().requires_grad_(True)
        loss = _loss_of(model, dict(model.named_parameters()), inputs, targets, "sum")
        (gradient,) = torch.autograd.grad(loss, inputs, create_graph=True)
        # A norm has no gradient at zero.
        return (gradient.flatten(1).square().sum(1) + 1e-12).sqrt().mean()


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

    def value(self, model: nn.Module, inputs: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the difference on the batch."""
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        loss = _loss_of(model, trained, inputs, targets, "mean")
        gradients = torch.autograd.grad(
            loss, list(trained.values()), retain_graph=True, materialize_grads=True
        )
        norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt().clamp(min=1e-12)
        uphill = {
            name: parameter + self.radius * gradient / norm
            for (name, parameter), gradient in zip(trained.items(), gradients, strict=True)
        }
        return _loss_of(model, uphill, inputs, targets, "mean") - loss


def _loss_of(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    inputs: Tensor,
    targets: Tensor,
    reduction: str,
) -> Tensor:
    """Return the cross entropy with other parameters; the model's own statistics stay."""
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    outputs = functional_call(model, {**parameters, **statistics}, inputs)
    return functional.cross_entropy(outputs, targets, reduction=reduction)
