"""``binary``: the weights of binary layers become +1 and -1, and are frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveInt

from hwopt.errors import HwoptError
from hwopt.job.keys.base import Beginning, VariantKey

if TYPE_CHECKING:
    from hwopt.job.recipe import Recipe, Training, Variant
    from hwopt.job.steps import GraphStep
    from hwopt.job.variants import VariantSteps
    from hwopt.train import Term

#: The paper's growth is 35, in 352,000 steps; this is meant for a hundredth of them.
GROWTH = 4.0


class Binary(VariantKey):
    """How the weights of binary layers become +1 and -1; ``binarize`` must make the layers.

    Attributes:
        method: ``bnew`` is ``hwopt.train.BinaryPull``; the others are its baselines.
        first_epochs: before it, with binary activations and real weights.
        growth, frozen: options of ``bnew``; by default 4, and 1 epoch.
    """

    method: Literal["bnew", "straight-through", "tanh-annealing", "bop"] = "bnew"
    first_epochs: PositiveInt = 5
    growth: float | None = Field(default=None, gt=0)
    frozen: PositiveInt | None = None

    def check(self, name: str, recipe: Recipe, where: str) -> None:
        """Refuse options of another method, rounds, and a training that only freezes."""
        if recipe.variants[name].rounds > 1:
            raise HwoptError(f"{where}: binary layers are trained in one round: leave rounds out")
        of_bnew = [one for one in ("growth", "frozen") if getattr(self, one) is not None]
        if self.method != "bnew" and of_bnew:
            raise HwoptError(f"{where}: {of_bnew[0]} is of bnew, not of {self.method}")
        assert recipe.fine_tune is not None
        epochs, frozen = recipe.fine_tune.epochs, self.frozen or 1
        if frozen >= epochs:
            raise HwoptError(
                f"{where}: of {epochs} epochs of fine_tune {frozen} are frozen: leave one at least "
                "to pull the weights"
            )

    def term(self, beginning: Beginning) -> Term:
        """Return what pulls the weights, or one of the baselines."""
        from hwopt.train import BinaryPull, Bop, StraightThrough, TanhAnnealing

        weights, epochs = _trained_weights(beginning), beginning.training.epochs
        if self.method == "bnew":
            frozen = self.frozen or 1
            growth = self.growth or GROWTH
            strength = BinaryPull.strength_for(growth, beginning.steps, epochs, frozen)
            return BinaryPull(weights, epochs, strength, frozen)
        baselines = {
            "straight-through": StraightThrough,
            "tanh-annealing": TanhAnnealing,
            "bop": Bop,
        }
        return baselines[self.method](weights, epochs)

    def first_phase(self, training: Training, variant: Variant) -> tuple[Training, Variant]:
        """Return the first phase of a variant's training: real weights, binary activations."""
        first = training.model_copy(update={"epochs": self.first_epochs})
        phase = FirstPhase(first_epochs=self.first_epochs)
        return first, variant.model_copy(update={"binary": phase})

    def steps_before(
        self, variant: Variant, training: Training, steps: VariantSteps
    ) -> list[GraphStep]:
        """Train with binary activations and real weights first."""
        return [steps.fit("first-phase", *self.first_phase(training, variant))]

    def steps_after(self, steps: VariantSteps) -> list[GraphStep]:
        """Freeze: training left +1 and -1, and one bit of each weight stays."""
        return [steps.passes("freeze", "freeze-binary")]


class FirstPhase(Binary):
    """The first phase of training binary layers: BNEW with a pull of nothing."""

    def term(self, beginning: Beginning) -> Term:
        """Return what makes activations binary, and leaves the weights alone."""
        from hwopt.train import BinaryPull

        return BinaryPull(_trained_weights(beginning), beginning.training.epochs, 0.0, 0)


def _trained_weights(beginning: Beginning) -> list[str]:
    from hwopt.passes import layers

    graph = beginning.graph
    return [name for name in layers.binary_weights(graph) if graph.is_trainable(name)]
