"""What a network is for: what it learns by, how good it is, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hwopt.errors import HwoptError
from hwopt.option_text import format_options
from hwopt.tasks.metric import Metric

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from hwopt.data import Batch


@dataclass(frozen=True)
class Task:
    """Base of all tasks: a frozen dataclass whose fields are the options.

    A subclass has :meth:`loss`, :meth:`evidence` and a ``metric``; all else has a meaning that fits
    most. Its text form is that of passes: ``segmentation{ignore=255}``.

    A *batch* has ``inputs`` and ``targets``, either any nesting of tensors with the samples first;
    ``targets`` is None where samples have none. *Outputs* are what the network returns: one tensor,
    or a tuple of them.

    The quality is found in three steps, so that any part of the samples can be judged, and an
    interval be drawn: ``evidence`` of every batch, ``scores`` of all samples, ``quality`` of these.

    Class attributes:
        name: in text.
    """

    name: ClassVar[str] = ""

    # Properties, so that they may depend on the options of a task; an attribute does as well.

    @property
    def metric(self) -> Metric:
        """The figure that says how good answers are."""
        raise NotImplementedError(f"task {type(self).__name__} defines no metric")

    @property
    def has_classes(self) -> bool:
        """Whether outputs are one tensor of logits (N, classes, ...), and targets are classes."""
        return False

    @property
    def loss_can_be_zero(self) -> bool:
        """Whether a network that is never wrong has no loss at all."""
        return False

    @property
    def is_mean(self) -> bool:
        """Whether the quality is the mean of one number a sample."""
        kind = type(self)
        return kind.quality is Task.quality and kind.scores is Task.scores

    def feed(self, inputs: Any) -> Any:
        """Return what the network is given of a batch's inputs; often all, as it is."""
        return inputs

    def complete(self, batch: Batch) -> Batch:
        """Return a batch with the targets that it lacks, before anything else is asked of it."""
        return batch

    def check(self, outputs: Any, batch: Batch) -> None:
        """Refuse a network, or data, that is none of this task; asked with one batch.

        Raises:
            HwoptError: with what does not fit.
        """

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return what training makes small, of every sample: float (N,)."""
        raise NotImplementedError(f"task {type(self).__name__} defines no loss")

    def probe(self, outputs: Any, batch: Batch, generator: Generator) -> Tensor:
        """Return what gradients are taken of to tell how much a weight matters: float (N,).

        It is the loss; but a task whose loss is flat where the network is as it should be returns
        what tells there, such as outputs along random slopes.
        """
        return self.loss(outputs, batch)

    def learned_from(self, teacher: Callable[[], nn.Module]) -> Task:
        """Return the task where a network is compressed: to imitate keeps that as its teacher.

        Args:
            teacher: makes the network.
        """
        return self

    def smoothed(self, amount: float) -> Task:
        """Return the task with smoothed labels; only classes have such."""
        return self

    def evidence(self, outputs: Any, batch: Batch) -> np.ndarray:
        """Return what the quality needs of every sample: an array (N, ...)."""
        raise NotImplementedError(f"task {type(self).__name__} defines no evidence")

    def scores(self, evidence: np.ndarray) -> np.ndarray:
        """Return from the evidence of all samples what each adds to the quality: (N, ...)."""
        return evidence

    def quality(self, scores: np.ndarray) -> float:
        """Return the figure of samples; NaN where they say nothing. The mean, if not overridden."""
        return float(scores.mean())

    def answer(self, outputs: Any) -> Tensor | None:
        """Return what the network decides on, (N, ...); None where it gives numbers."""
        return None

    def show(self, outputs: Any, class_names: tuple[str, ...] = ()) -> str:
        """Return what a network says of one sample, for people.

        Args:
            outputs: of a batch of one.
            class_names: of the data, if it has such.
        """
        answer = self.answer(outputs)
        if answer is None or answer.numel() != 1:
            return ", ".join(_shown(one) for one in as_tuple(outputs))
        number = int(answer.reshape(()))
        return class_names[number] if number < len(class_names) else str(number)

    def __str__(self) -> str:
        return format_options(self.name, self)


def as_tuple(outputs: Any) -> tuple[Any, ...]:
    """Return outputs as a tuple, of one where they are one tensor."""
    return tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)


def are_numbers(outputs: Any) -> bool:
    """Return whether no output is NaN: of what is none, no largest one and no sign is an answer."""
    return not any(bool(one.isnan().any()) for one in as_tuple(outputs))


def one_tensor(outputs: Any, what: str) -> Tensor:
    """Return the only output.

    Raises:
        HwoptError: if there are several; ``what`` says what is needed.
    """
    import torch

    if isinstance(outputs, torch.Tensor):
        return outputs
    found = f"{len(outputs)} outputs" if isinstance(outputs, tuple | list) else type(outputs)
    raise HwoptError(f"the model returns {found}, but {what} is needed: choose another task")


def _shown(output: Tensor) -> str:
    values = output.reshape(-1)
    if len(values) > 4:
        return f"{list(output.shape[1:])} of mean {float(values.float().mean()):.4g}"
    return " ".join(f"{float(value):.4g}" for value in values)
