"""Terms that a training adds to its objective: penalties, distillation, alignment."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from hwopt.tasks import Classification, Task


class Term:
    """Base of what ``fit(terms=...)`` takes; a subclass overrides what it needs.

    A term is used for one training at a time. Its text form tells trainings apart when one is
    resumed.

    Class attributes:
        alone: whether it goes with one process only.

    Attributes:
        epochs: of the training that it is for; None goes with any.
        needs_classes: whether outputs must be logits, and targets classes.
        task: of the training, known before ``start``.
    """

    alone: ClassVar[bool] = False
    epochs: int | None = None
    needs_classes: bool = False
    task: Task = Classification()

    def start(self, model: nn.Module, samples: int) -> None:
        """Prepare for a training of ``model`` on so many samples."""

    def loss(self, loss: Tensor, inputs: Any, outputs: Any, targets: Any) -> Tensor:
        """Return the loss with this term, a scalar.

        Args:
            loss: so far, a scalar.
            inputs, targets: of the batch; see :class:`hwopt.data.Batch`.
            outputs: of the model.
        """
        return loss

    def start_epoch(self, learning_rate: float) -> None:
        """Do what is done once an epoch, before its first step."""

    def after_step(self, learning_rate: float) -> None:
        """Change the weights after a step of the optimizer."""

    def note(self) -> str:
        """Return where the term stands, for the line that is shown of an epoch; often nothing."""
        return ""

    def state(self) -> dict[str, Any]:
        """Return tensors and numbers that a checkpoint must hold."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what ``state`` returned, after ``start``."""

    def finish(self) -> None:
        """Undo what ``start`` did to the model."""
