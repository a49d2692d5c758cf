"""``sign-descent``: an optimizer that says what it is, and so fits into every training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from hwopt.optim import Behaviour, TrainingFacts


class SignDescent(Behaviour, torch.optim.Optimizer):
    """Steps of one size along the signs of the gradients, in blocks that share a momentum.

    It decays its rate itself, from the length of the training.
    """

    chooses_rate: ClassVar[bool] = True

    def __init__(self, params: Any, lr: float, steps: int, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self.steps, self.begun = steps, 0

    @classmethod
    def training_arguments(cls, training: TrainingFacts) -> Mapping[str, Any]:
        """Return a smaller rate than that of plain descent, and the length of the training."""
        steps = training.epochs * max(1, training.samples // 128)
        return {"lr": training.learning_rate / 10, "steps": steps}

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        """Take a step and return the loss before it."""
        with torch.enable_grad():
            loss = closure()
        self.begun += 1
        left = max(0.05, 1 - self.begun / self.steps)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                mean = self.state[parameter].setdefault("mean", torch.zeros_like(parameter))
                mean.lerp_(parameter.grad, 1 - group["momentum"])
                parameter.data.add_(mean.sign(), alpha=-left * group["lr"])
        return loss
