"""``constraints``: a training that keeps to levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hwopt.errors import HwoptError
from hwopt.job.keys.base import Beginning, TrainingKey

if TYPE_CHECKING:
    from hwopt.train import Term


class Constraints(TrainingKey):
    """What ``hwopt.train.Constrained`` keeps to: levels of those that are given."""

    changes_loss: ClassVar[bool] = True

    entropy_floor: float | None = Field(default=None, ge=0)
    class_marginal: float | None = Field(default=None, ge=0)
    hard_examples: float | None = Field(default=None, ge=0)
    input_gradient: float | None = Field(default=None, ge=0)
    sharpness: float | None = Field(default=None, ge=0)
    strength: float = Field(default=1.0, gt=0)

    def levels(self) -> dict[str, float]:
        """Return the levels that are given, by name."""
        return self.model_dump(exclude={"strength"}, exclude_none=True)

    def check(self, where: str) -> None:
        """Refuse constraints without a level."""
        if not self.levels():
            raise HwoptError(f"{where}.constraints has no level: give one at least")

    def term(self, beginning: Beginning) -> Term:
        """Return all constraints as one term."""
        from hwopt.train import Constrained, constraints

        kinds: dict[str, type[constraints.Constraint]] = {
            "entropy_floor": constraints.EntropyFloor,
            "class_marginal": constraints.ClassMarginal,
            "hard_examples": constraints.HardExamples,
            "input_gradient": constraints.InputGradient,
            "sharpness": constraints.Sharpness,
        }
        chosen = [kinds[name](level) for name, level in self.levels().items()]
        return Constrained(chosen, beginning.training.epochs, self.strength)
