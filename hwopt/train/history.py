"""What a training leaves behind besides the weights."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class EpochStats:
    """One epoch: figures over its training samples, as they were augmented.

    ``seconds`` is the training of the epoch with what its terms do, without validation;
    ``quality`` and ``validation_quality`` are by the metric of the task, None where samples say
    nothing, or there is no validation; ``shown`` and ``validation_shown`` are the two for people;
    ``notes`` say where the terms of the objective stand.
    """

    epoch: int
    loss: float
    quality: float | None
    seconds: float
    samples_per_second: float
    shown: str = ""
    validation_loss: float | None = None
    validation_quality: float | None = None
    validation_shown: str = ""
    notes: str = ""

    def __str__(self) -> str:
        """Return one line for people.

        >>> print(EpochStats(3, 0.25, 0.91, 20.0, 3000.0, "accuracy 91.00 %"))
        epoch 3: loss 0.2500, accuracy 91.00 %, 3000 samples/s, 20.0 s
        """
        parts = [f"loss {self.loss:.4f}"]
        parts += [self.shown] if self.shown else []
        parts += [f"{self.samples_per_second:.0f} samples/s", f"{self.seconds:.1f} s"]
        parts += [f"validation {self.validation_shown}"] if self.validation_shown else []
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
