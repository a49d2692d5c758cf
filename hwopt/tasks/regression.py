"""Numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hwopt.errors import HwoptError
from hwopt.tasks.metric import Metric
from hwopt.tasks.task import Task, one_tensor

if TYPE_CHECKING:
    from torch import Tensor

    from hwopt.data import Batch

_METRICS = {
    "mean-absolute-error": Metric(
        "mean absolute error", higher_is_better=False, is_share=False, ideal=0.0
    ),
    "r2": Metric("R²", is_share=False),
    "root-mean-square": Metric("RMS error", higher_is_better=False, is_share=False, ideal=0.0),
}


@dataclass(frozen=True)
class Regression(Task):
    """Numbers: outputs and targets float of the same shape, or targets (N,) of outputs (N, 1).

    Options:
        by: the quality: ``mean-absolute-error``, ``root-mean-square``, or ``r2``, the share of the
            variance of the targets that is explained.
        loss_by: what training makes small: the squared error, or Huber's, which is linear from an
            error of 1 on.

    >>> import torch
    >>> from hwopt.data import Batch
    >>> task, targets = Regression(by="r2"), torch.tensor([1.0, 3.0])
    >>> task.quality(task.evidence(targets[:, None] + 0.5, Batch(None, targets)))
    0.75
    """

    name = "regression"
    loss_can_be_zero = True

    by: Literal["mean-absolute-error", "root-mean-square", "r2"] = "mean-absolute-error"
    loss_by: Literal["square", "huber"] = "square"

    @property
    def metric(self) -> Metric:
        """The error, or R²."""
        return _METRICS[self.by]

    @property
    def is_mean(self) -> bool:
        """That of absolute errors is."""
        return self.by == "mean-absolute-error"

    def check(self, outputs: Any, batch: Batch) -> None:
        """Refuse outputs and targets of different shapes."""
        outputs, targets = one_tensor(outputs, "one tensor of numbers"), batch.targets
        if targets is None or targets.numel() != outputs.numel():
            found = None if targets is None else list(targets.shape)
            raise HwoptError(
                f"regression needs targets like the outputs {list(outputs.shape)}, but the data's "
                f"are {found}"
            )

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the mean over the numbers of a sample."""
        from torch.nn import functional

        targets = batch.targets.to(outputs.dtype).reshape(outputs.shape)
        by = functional.mse_loss if self.loss_by == "square" else functional.smooth_l1_loss
        return by(outputs, targets, reduction="none").reshape(len(outputs), -1).mean(1)

    def evidence(self, outputs: Any, batch: Batch) -> np.ndarray:
        """Return the mean error of every sample, float64 (N,); for R² outputs and targets.

        The latter are float64 (N, 2, numbers).
        """
        said, true = (one.double().reshape(len(outputs), -1) for one in (outputs, batch.targets))
        if self.by == "r2":
            return np.stack([said.numpy(), true.numpy()], 1)
        errors = said - true
        return (errors.abs() if self.by == "mean-absolute-error" else errors**2).mean(1).numpy()

    def quality(self, scores: np.ndarray) -> float:
        """Return the metric; of R² the mean over the numbers of a sample."""
        if self.by != "r2":
            mean = float(scores.mean())
            return mean if self.by == "mean-absolute-error" else mean**0.5
        said, true = scores[:, 0], scores[:, 1]
        variance = true.var(0)
        shares = 1 - ((said - true) ** 2).mean(0) / np.where(variance > 0, variance, np.nan)
        return float(shares.mean())
