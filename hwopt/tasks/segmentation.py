"""A class for every place of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.errors import HwoptError
from hwopt.tasks.classification import check_classes
from hwopt.tasks.metric import Metric
from hwopt.tasks.task import Task, one_tensor

if TYPE_CHECKING:
    from torch import Tensor

    from hwopt.data import Batch


@dataclass(frozen=True)
class Segmentation(Task):
    """A class a place: logits (N, classes, ...) and labels int64 (N, ...), by cross entropy.

    The quality is the mean over the classes of intersection over union, both summed over all
    samples; classes that neither appear nor are said are left out.

    Options:
        ignore: a label that counts nothing.

    >>> import torch
    >>> from hwopt.data import Batch
    >>> labels = torch.tensor([[0, 0, 1, 1]])
    >>> logits = torch.nn.functional.one_hot(torch.tensor([[0, 1, 1, 1]]), 2).movedim(-1, 1).float()
    >>> task = Segmentation()
    >>> round(task.quality(task.evidence(logits, Batch(None, labels))), 4)
    0.5833
    """

    name = "segmentation"
    metric = Metric("mean IoU")
    has_classes = True
    loss_can_be_zero = True

    ignore: int = 255

    def check(self, outputs: Any, batch: Batch) -> None:
        """Refuse outputs that are no logits of the places of the labels."""
        outputs, labels = one_tensor(outputs, "one tensor (logits a place)"), batch.targets
        check_classes(outputs, labels)
        outside = labels[((labels >= outputs.shape[1]) | (labels < 0)) & (labels != self.ignore)]
        if outside.numel():
            raise HwoptError(
                f"the data has label {int(outside[0])}, but the model has {outputs.shape[1]} "
                f"classes, and ignored is {self.ignore}"
            )

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the mean cross entropy over the places that count."""
        from torch.nn import functional

        losses = functional.cross_entropy(
            outputs, batch.targets.long(), reduction="none", ignore_index=self.ignore
        )
        counted = (batch.targets != self.ignore).flatten(1).sum(1).clamp(min=1)
        return losses.flatten(1).sum(1) / counted

    def evidence(self, outputs: Any, batch: Batch) -> np.ndarray:
        """Return intersection and union of every class, int64 (N, 2, classes)."""
        said, true, count = (
            outputs.argmax(1).flatten(1),
            batch.targets.long().flatten(1),
            outputs.shape[1],
        )
        counts = true != self.ignore
        rows = []
        for one, other, counted in zip(said, true, counts, strict=True):
            one, other = one[counted], other[counted]
            both = one[one == other].bincount(minlength=count)
            either = one.bincount(minlength=count) + other.bincount(minlength=count) - both
            rows.append(np.stack([both.numpy(), either.numpy()]))
        return np.stack(rows)

    def quality(self, scores: np.ndarray) -> float:
        """Return the mean IoU of the classes that there are."""
        both, either = scores.sum(0)
        there = either > 0
        return float((both[there] / either[there]).mean()) if there.any() else float("nan")

    def answer(self, outputs: Any) -> Tensor:
        """Return the class of every place, int64 (N, ...)."""
        answer: Tensor = outputs.argmax(1)
        return answer

    def show(self, outputs: Any, class_names: tuple[str, ...] = ()) -> str:
        """Return the share of the places that each class has."""
        shares = self.answer(outputs).reshape(-1).bincount(minlength=outputs.shape[1]).double()
        shares /= shares.sum()
        return ", ".join(
            f"{class_names[n] if n < len(class_names) else n} {100 * float(share):.0f} %"
            for n, share in enumerate(shares)
            if share > 0
        )
