"""One of several classes, or any number of labels."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.errors import HwoptError
from hwopt.tasks.metric import Metric
from hwopt.tasks.task import Task, one_tensor

if TYPE_CHECKING:
    from torch import Tensor

    from hwopt.data import Batch

#: A label that torch's cross entropy leaves out.
IGNORED = -100


@dataclass(frozen=True)
class Classification(Task):
    """One of N classes: logits (N, classes, ...), labels int64 (N, ...), by cross entropy.

    Args:
        label_smoothing: of the loss, in [0, 1).

    >>> import torch
    >>> from hwopt.data import Batch
    >>> batch = Batch(None, torch.tensor([0, 1]))
    >>> logits = torch.tensor([[9.0, 0.0], [9.0, 0.0]])
    >>> task = Classification()
    >>> task.quality(task.evidence(logits, batch))
    0.5
    """

    name = "classification"
    metric = Metric("accuracy")
    has_classes = True

    label_smoothing: float = 0.0

    @property
    def loss_can_be_zero(self) -> bool:
        """Not with smoothed labels."""
        return self.label_smoothing == 0

    def smoothed(self, amount: float) -> Classification:
        """Return the task with a label smoothing."""
        return dataclasses.replace(self, label_smoothing=amount)

    def check(self, outputs: Any, batch: Batch) -> None:
        """Refuse outputs that are no logits, and labels that are none of their classes."""
        outputs, labels = one_tensor(outputs, "one tensor (the logits)"), batch.targets
        check_classes(outputs, labels)
        outside = labels[(labels >= outputs.shape[1]) | (labels < 0) & (labels != IGNORED)]
        if outside.numel():
            raise HwoptError(
                f"the data has label {int(outside[0])}, but the model has only {outputs.shape[1]} "
                "outputs: create it with more classes"
            )

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the cross entropy."""
        from torch.nn import functional

        labels = batch.targets.long()
        losses = functional.cross_entropy(
            outputs, labels, reduction="none", label_smoothing=self.label_smoothing
        )
        if losses.dim() == 1:
            return losses
        counted = (labels != IGNORED).flatten(1).sum(1).clamp(min=1)
        return losses.flatten(1).sum(1) / counted

    def evidence(self, outputs: Any, batch: Batch) -> np.ndarray:
        """Return the share of right answers of every sample, float64 (N,); NaN without a label."""
        count = len(batch.targets)
        right = (outputs.argmax(1) == batch.targets).reshape(count, -1).sum(1).double()
        counted = (batch.targets != IGNORED).reshape(count, -1).sum(1)
        return (right / counted).numpy()

    @property
    def is_mean(self) -> bool:
        """The accuracy is, of the samples that have a label."""
        return True

    def quality(self, scores: np.ndarray) -> float:
        """Return the mean over the samples that have a label."""
        labelled = scores[~np.isnan(scores)]
        return float(labelled.mean()) if labelled.size else float("nan")

    def answer(self, outputs: Any) -> Tensor:
        """Return the class of the largest output."""
        answer: Tensor = outputs.argmax(1)
        return answer


@dataclass(frozen=True)
class MultiLabel(Task):
    """Any number of labels: logits (N, labels) and their truth 0 or 1 (N, labels).

    The loss is the binary cross entropy; the quality is the F1 score of all decisions together
    (micro-averaged), each taken at probability 0.5.
    """

    name = "multi-label"
    metric = Metric("F1")
    loss_can_be_zero = True

    def check(self, outputs: Any, batch: Batch) -> None:
        """Refuse outputs and labels of different shapes, and labels that are not 0 or 1."""
        outputs, labels = one_tensor(outputs, "one tensor (a logit a label)"), batch.targets
        if labels is None or tuple(labels.shape) != tuple(outputs.shape):
            found = None if labels is None else list(labels.shape)
            raise HwoptError(
                f"multi-label needs a 0 or 1 for each of the outputs {list(outputs.shape)}, but "
                f"the data's targets are {found}"
            )
        if not bool(((labels == 0) | (labels == 1)).all()):
            raise HwoptError("multi-label needs targets that are 0 or 1")

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the mean binary cross entropy over the labels."""
        from torch.nn import functional

        losses = functional.binary_cross_entropy_with_logits(
            outputs, batch.targets.to(outputs.dtype), reduction="none"
        )
        return losses.flatten(1).mean(1)

    def evidence(self, outputs: Any, batch: Batch) -> np.ndarray:
        """Return how many labels were found, wrongly said, and missed: int64 (N, 3)."""
        import torch

        said, true = (outputs > 0).flatten(1), (batch.targets > 0).flatten(1)
        counts = (said & true).sum(1), (said & ~true).sum(1), (~said & true).sum(1)
        return torch.stack(counts, 1).numpy()

    def quality(self, scores: np.ndarray) -> float:
        """Return 2 found / (2 found + wrong + missed); 1 where there is nothing to find or say."""
        found, wrong, missed = map(float, scores.sum(0))
        return 2 * found / (2 * found + wrong + missed) if found + wrong + missed else 1.0

    def answer(self, outputs: Any) -> Tensor:
        """Return which labels are said, bool (N, labels)."""
        answer: Tensor = outputs > 0
        return answer

    def show(self, outputs: Any, class_names: tuple[str, ...] = ()) -> str:
        """Return the labels that are said."""
        said = self.answer(outputs).reshape(-1).nonzero().reshape(-1).tolist()
        return ", ".join(class_names[n] if n < len(class_names) else str(n) for n in said) or "none"


def check_classes(outputs: Tensor, labels: Any) -> None:
    """Refuse outputs and labels that are no classes.

    Raises:
        HwoptError: with what they are.
    """
    fits = labels is not None and not labels.is_floating_point() and outputs.dim() >= 2
    if not fits or tuple(labels.shape) != (outputs.shape[0], *outputs.shape[2:]):
        found = "no targets" if labels is None else f"targets {labels.dtype} {list(labels.shape)}"
        raise HwoptError(
            f"outputs of shape {list(outputs.shape)} and {found} are no classes: name the task "
            "that they are of"
        )
