"""The input again; what cannot be made again is strange."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.errors import HwoptError
from hwopt.tasks.metric import Metric
from hwopt.tasks.task import Task, one_tensor

if TYPE_CHECKING:
    from torch import Tensor

    from hwopt.data import Batch


@dataclass(frozen=True)
class Reconstruction(Task):
    """The input again, by the mean squared error, which is also the quality."""

    name = "reconstruction"
    metric = Metric("mean squared error", higher_is_better=False, is_share=False, ideal=0.0)
    loss_can_be_zero = True

    def check(self, outputs: Any, batch: Batch) -> None:
        """Refuse outputs that are not as large as the inputs."""
        outputs, inputs = one_tensor(outputs, "one tensor like the input"), self.feed(batch.inputs)
        if not hasattr(inputs, "numel") or inputs.numel() != outputs.numel():
            raise HwoptError(
                f"{self.name} needs outputs as large as the one input, but the model returns "
                f"{list(outputs.shape)}"
            )

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the mean squared error of every sample."""
        inputs = self.feed(batch.inputs)
        error: Tensor = (outputs.reshape(len(outputs), -1) - inputs.reshape(len(inputs), -1)) ** 2
        return error.mean(1)

    def evidence(self, outputs: Any, batch: Batch) -> np.ndarray:
        """Return the same, float64 (N,)."""
        return self.loss(outputs, batch).double().numpy()


@dataclass(frozen=True)
class Anomaly(Reconstruction):
    """The same; but what is made badly is called strange, and the quality is how right that is.

    Targets say which samples are strange: 0 (usual) or more. The quality is the area under the
    curve of the receiver (AUC): the share of pairs of a strange and a usual sample of which the
    strange one has the larger error. Training learns from all samples that it is given, and these
    should be usual ones.
    """

    name = "anomaly"
    metric = Metric("AUC")

    def evidence(self, outputs: Any, batch: Batch) -> np.ndarray:
        """Return error and target of every sample, float64 (N, 2)."""
        if batch.targets is None:
            raise HwoptError("anomaly needs targets that say which samples are strange")
        strange = (batch.targets.reshape(-1) > 0).double().numpy()
        return np.stack([self.loss(outputs, batch).double().numpy(), strange], 1)

    def quality(self, scores: np.ndarray) -> float:
        """Return the AUC; NaN if samples are all of one kind, as those of training are."""
        return area_under_curve(scores[:, 0], scores[:, 1] > 0)


def area_under_curve(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return the share of pairs whose positive one scores more; ties count half.

    Args:
        scores: float (N,).
        positive: bool (N,).

    >>> area_under_curve(np.array([1.0, 2.0, 3.0]), np.array([False, True, False]))
    0.5
    """
    from scipy.stats import rankdata

    count = int(positive.sum())
    others = len(positive) - count
    if not count or not others:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))
