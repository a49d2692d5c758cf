"""What a key of a recipe is: what it holds, what it refuses, and what it adds to a job."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from hwopt.errors import HwoptError, check_choice
from hwopt.tasks import share

if TYPE_CHECKING:
    from hwopt.allocation.widths import Measure
    from hwopt.graph import Graph
    from hwopt.job.recipe import Recipe, Training, Variant
    from hwopt.job.steps import GraphStep
    from hwopt.job.variants import VariantSteps
    from hwopt.train import Term


def one_of(
    kind: str, names: Callable[[], Iterable[str]], or_reference: bool = False
) -> AfterValidator:
    """Return what refuses a word that is none of those that there are.

    Args:
        kind: what the word stands for.
        names: returns the words when one is checked.
        or_reference: ``package.module:callable`` is fine, too; it is looked up when it is needed.
    """

    def check(value: str) -> str:
        if or_reference and ":" in value:
            return value
        try:
            check_choice(kind, value, names())
        except HwoptError as error:
            raise ValueError(str(error)) from None
        return value

    return AfterValidator(check)


#: A share, written as 0.01 or "1%".
Share = Annotated[float, BeforeValidator(share)]


class Strict(BaseModel):
    """Part of a recipe: unknown keys are refused, and it never changes.

    A key that is left out has the value of its default, and ``None`` says that what it is of
    decides: so what was read, written out and read again is the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Beginning:
    """What a training begins with.

    Attributes:
        graph: what is trained.
        base: the network before the passes; None where there were none.
        training: how it is trained.
        samples: that it is trained on.
        latency: measures graphs; None if nothing can.
    """

    graph: Graph
    base: Graph | None
    training: Training
    samples: int
    latency: Measure | None = None

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return max(1, self.samples // self.training.batch_size)


class TrainingKey(Strict):
    """A key of ``train`` and ``fine_tune`` that adds a term to the objective.

    Class attributes:
        changes_loss: the loss is not the cross entropy alone any more.
    """

    changes_loss: ClassVar[bool] = False

    def check(self, where: str) -> None:
        """Refuse what would mean nothing.

        Raises:
            HwoptError: with a sentence that begins with ``where``.
        """

    def term(self, beginning: Beginning) -> Term:
        """Return the term for a training."""
        raise NotImplementedError(f"{type(self).__name__} defines no term")


class VariantKey(Strict):
    """A key of a variant.

    Class attributes:
        is_of_training: it means nothing where the variant is not fine-tuned.
        changes_loss: the loss is not the cross entropy alone any more.
    """

    is_of_training: ClassVar[bool] = True
    changes_loss: ClassVar[bool] = False

    def check(self, name: str, recipe: Recipe, where: str) -> None:
        """Refuse what would fail, or mean nothing, after the network was trained only.

        Args:
            name: of the variant.
            recipe: that it is of.
            where: begins the sentence.

        Raises:
            HwoptError: with what is wrong.
        """

    def term(self, beginning: Beginning) -> Term | None:
        """Return the term for fine-tuning, if there is one."""
        return None

    def steps_before(
        self, variant: Variant, training: Training, steps: VariantSteps
    ) -> list[GraphStep]:
        """Return what is done between the passes and fine-tuning.

        Args:
            variant: that this is a key of.
            training: of fine-tuning.
            steps: of the variant, which makes steps of the usual kinds.
        """
        return []

    def steps_after(self, steps: VariantSteps) -> list[GraphStep]:
        """Return what is done after fine-tuning."""
        return []

    def rehearse(self, graph: Graph, base: Graph, steps: VariantSteps) -> None:
        """Begin what is not of training as far as that is possible before anything is trained.

        Args:
            graph: the network after the passes, not trained.
            base: the network before them.
            steps: of the variant.

        Raises:
            HwoptError: if it cannot be done.
        """
