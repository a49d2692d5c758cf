"""Without labels: the network as it was teaches what it becomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hwopt.errors import HwoptError
from hwopt.tasks.metric import Metric
from hwopt.tasks.task import Task, as_tuple

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hwopt.data import Batch

Kind = Literal["classes", "shares", "masks", "vectors", "numbers"]
#: Beside a value that is smaller than this, relative errors mean nothing.
_TINY = 1e-12


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
        return self.kinds or tuple(_kind(one) for one in as_tuple(taught))

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the mean of the losses of the outputs."""
        import torch

        found = [self._loss(*one) for one in self._beside(outputs, batch)]
        return torch.stack(found).mean(0)

    def evidence(self, outputs: Any, batch: Batch) -> np.ndarray:
        """Return the mean of the agreements of the outputs, float64 (N,)."""
        found = [
            _agreement(kind, said.double(), taught.double())
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

    def _loss(self, kind: Kind, said: Tensor, taught: Tensor) -> Tensor:
        """Return the loss of one output, (N,)."""
        from torch.nn import functional

        if kind == "classes":
            log_said, log_taught = (
                functional.log_softmax(one / self.temperature, 1) for one in (said, taught)
            )
            parts = (log_taught.exp() * (log_taught - log_said)).sum(1)
            return parts.reshape(len(said), -1).mean(1) * self.temperature**2
        if kind == "shares":
            log_said, log_taught = (one.clamp(min=_TINY).log() for one in (said, taught))
            parts = (taught * (log_taught - log_said)).sum(1)
            return parts.reshape(len(said), -1).mean(1)
        if kind == "masks":
            wanted = taught.sigmoid()
            parts = functional.binary_cross_entropy_with_logits(said, wanted, reduction="none")
            # What certainty is not there is not asked for: imitating exactly is no loss.
            least = functional.binary_cross_entropy(wanted, wanted, reduction="none")
            return (parts - least).flatten(1).mean(1)
        if kind == "vectors":
            return 1 - functional.cosine_similarity(said.flatten(1), taught.flatten(1))
        spread = taught.var(unbiased=False).clamp(min=_TINY)
        return (said - taught).square().reshape(len(said), -1).mean(1) / spread


def _kind(output: Tensor) -> Kind:
    if output.dim() not in (2, 4, 5) or output.shape[1] < 2:
        return "numbers"
    sums = output.detach().sum(1)
    is_shares = bool((output >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all())
    return "shares" if is_shares else "classes"


def _agreement(kind: Kind, said: Tensor, taught: Tensor) -> Tensor:
    """Return the agreement of one output, float64 (N,)."""
    from torch.nn import functional

    count = len(said)
    if kind in ("classes", "shares"):
        return (said.argmax(1) == taught.argmax(1)).double().reshape(count, -1).mean(1)
    one, other = said.reshape(count, -1), taught.reshape(count, -1)
    if kind == "masks":
        both = ((one > 0) & (other > 0)).sum(1).double()
        either = ((one > 0) | (other > 0)).sum(1).double()
        return (both / either.clamp(min=1)).masked_fill(either == 0, 1.0)
    if kind == "vectors":
        return functional.cosine_similarity(one, other).clamp(min=0)
    error = (one - other).norm(dim=1) / other.norm(dim=1).clamp(min=_TINY)
    return (1 - error).clamp(min=0)
