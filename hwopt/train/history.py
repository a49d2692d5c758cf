"""What a training leaves behind besides the weights."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class EpochStats:
    """One epoch: figures over its training samples, as they were augmented.

    ``seconds`` is the training of the epoch with what its terms do, without validation;
    ``accuracy`` and ``validation_accuracy`` are fractions, None where there are no classes or no
    validation;
    ``notes`` say where the terms of the objective stand.
    """

    epoch: int
    loss: float
    accuracy: float | None
    seconds: float
    images_per_second: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    notes: str = ""

    def __str__(self) -> str:
        """Return one line for people.

        >>> print(EpochStats(3, 0.25, 0.91, 20.0, 3000.0, validation_accuracy=0.9))
        epoch 3: loss 0.2500, accuracy 91.00 %, 3000 images/s, 20.0 s, validation 90.00 %
        """
        parts = [f"loss {self.loss:.4f}"]
        if self.accuracy is not None:
            parts.append(f"accuracy {100 * self.accuracy:.2f} %")
        parts += [f"{self.images_per_second:.0f} images/s", f"{self.seconds:.1f} s"]
        if self.validation_accuracy is not None:
            parts.append(f"validation {100 * self.validation_accuracy:.2f} %")
        elif self.validation_loss is not None:
            parts.append(f"validation loss {self.validation_loss:.4f}")
        parts += [self.notes] if self.notes else []
        return f"epoch {self.epoch}: {', '.join(parts)}"


@dataclasses.dataclass(frozen=True)
class History:
    """All epochs of a training, also those before it was resumed."""

    epochs: tuple[EpochStats, ...]
    resumed_from: int
    """How many epochs a checkpoint had already done when this call began."""

    @property
    def seconds(self) -> float:
        """Training time of all epochs."""
        return sum(stats.seconds for stats in self.epochs)
