"""A task that is nothing but a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.errors import HwoptError
from hwopt.tasks.metric import Metric
from hwopt.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor

    from hwopt.data import Batch


@dataclass(frozen=True)
class LossOnly(Task):
    """What a function of outputs and targets says, which is also the quality.

    Args:
        function: returns the loss of every sample, float (N,).

    >>> import torch
    >>> from hwopt.data import Batch
    >>> task = LossOnly(lambda outputs, targets: (outputs - targets).abs().mean(1))
    >>> task.loss(torch.ones(2, 3), Batch(None, torch.zeros(2, 3)))
    tensor([1., 1.])
    """

    name = "loss"
    metric = Metric("loss", higher_is_better=False, is_share=False, ideal=0.0)

    function: Callable[[Any, Any], Tensor]

    def __str__(self) -> str:
        return f"loss {getattr(self.function, '__qualname__', type(self.function).__qualname__)}"

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return what the function does."""
        losses = self.function(outputs, batch.targets)
        if losses.dim() != 1:
            raise HwoptError(
                f"the loss returns a tensor of shape {list(losses.shape)}: one number a sample is "
                "needed, so leave the mean out (reduction='none')"
            )
        return losses

    def evidence(self, outputs: Any, batch: Batch) -> np.ndarray:
        """Return the losses."""
        return self.loss(outputs, batch).double().numpy()
