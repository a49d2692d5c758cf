"""Without labels: the network as it was teaches what it becomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.errors import HwoptError
from hwopt.tasks.metric import Metric
from hwopt.tasks.output_kinds import KINDS, Kind, kind_of
from hwopt.tasks.task import Task, as_tuple

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from hwopt.data import Batch


@dataclass(frozen=True)
class Imitation(Task):
    """What another network says, on inputs without labels.

    Every output is of a kind, which gives its loss and its agreement, in [0, 1]:

    ==========  ==========================================  ==================================
    classes     divergence of softened logits (N, C, ...)   share of the same largest one
    shares      divergence of probabilities (N, C, ...)     share of the same largest one
    masks       binary cross entropy to probabilities       intersection over union at 0.5
    vectors     1 - cosine (N, ...)                         the cosine, at least 0
    numbers     squared error beside the variance           1 - relative error, at least 0
    ==========  ==========================================  ==================================

    Loss and quality are means over the outputs. Without a kind, an output (N, C) of at least two
    numbers, or (N, C, height, width, ...) of at least two channels, is taken for shares where these
    sum to 1, else for classes; all others are numbers.

    Options:
        kinds: of the outputs, in their order.
        temperature: of the divergence.
    """

    name = "imitate"
    metric = Metric("agreement")
    loss_can_be_zero = True

    kinds: tuple[Kind, ...] = ()
    temperature: float = 2.0
    #: A module; texts know options only.
    teacher: Any = dataclasses.field(
        default=None, repr=False, compare=False, metadata={"is_option": False}
    )

    def __post_init__(self) -> None:
        """Refuse a temperature that softens nothing."""
        if not self.temperature > 0:
            raise HwoptError(f"imitate: temperature must be positive, not {self.temperature}")

    def learned_from(self, teacher: Callable[[], nn.Module]) -> Imitation:
        """Return the task of doing what a network does, which is kept in evaluation mode."""
        return dataclasses.replace(self, teacher=teacher().eval().requires_grad_(False))

    def complete(self, batch: Batch) -> Batch:
        """Return the inputs with what the teacher says of them; targets of their own do not count.

        Raises:
            HwoptError: if there is no teacher.
        """
        import torch

        from hwopt.data import Batch, run_model

        if self.teacher is None:
            raise HwoptError("there is no network to imitate: give one by learned_from")
        with torch.no_grad():
            return Batch(batch.inputs, run_model(self.teacher, self.feed(batch.inputs)))

    def check(self, outputs: Any, batch: Batch) -> None:
        """Refuse outputs that are not as many, or of other shapes, as the teacher's."""
        said, taught = as_tuple(outputs), as_tuple(batch.targets)
        shapes = [[list(one.shape) for one in of] for of in (said, taught)]
        if shapes[0] != shapes[1]:
            raise HwoptError(f"imitate: the model gives {shapes[0]}, its teacher {shapes[1]}")
        if self.kinds and len(self.kinds) != len(said):
            raise HwoptError(
                f"imitate: the model has {len(said)} outputs, but kinds are of {len(self.kinds)}"
            )

    def kinds_of(self, taught: Any) -> tuple[Kind, ...]:
        """Return what every output of the teacher is taken for."""
        return self.kinds or tuple(kind_of(one) for one in as_tuple(taught))

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the mean of the losses of the outputs."""
        import torch

        found = [
            KINDS[kind].loss(said, taught, self.temperature)
            for kind, said, taught in self._beside(outputs, batch)
        ]
        return torch.stack(found).mean(0)

    def probe(self, outputs: Any, batch: Batch, generator: Generator) -> Tensor:
        """Return the outputs along random slopes: where the teacher is met, the loss is flat."""
        found = [
            (said * KINDS[kind].slope(taught, self.temperature, generator))
            .reshape(len(said), -1)
            .sum(1)
            for kind, said, taught in self._beside(outputs, batch)
        ]
        total: Tensor = sum(found[1:], found[0])
        return total / len(found) ** 0.5

    def evidence(self, outputs: Any, batch: Batch) -> np.ndarray:
        """Return the mean of the agreements of the outputs, float64 (N,)."""
        found = [
            KINDS[kind].agreement(said.double(), taught.double())
            for kind, said, taught in self._beside(outputs, batch)
        ]
        return np.mean([one.numpy() for one in found], 0)

    def answer(self, outputs: Any) -> Tensor | None:
        """Return the class, where classes are the only output."""
        if self.kinds_of(outputs) not in (("classes",), ("shares",)):
            return None
        answer: Tensor = as_tuple(outputs)[0].argmax(1)
        return answer

    def _beside(self, outputs: Any, batch: Batch) -> Iterator[tuple[Kind, Tensor, Tensor]]:
        """Yield the kind of every output, the output, and that of the teacher."""
        kinds = self.kinds_of(batch.targets)
        return zip(kinds, as_tuple(outputs), as_tuple(batch.targets), strict=True)
