"""``penalty``: weights, or channels, become zero while they are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hwopt.errors import HwoptError
from hwopt.job.keys.base import Beginning, TrainingKey

if TYPE_CHECKING:
    from hwopt.train import Term


class Penalty(TrainingKey):
    """Arguments of ``hwopt.train.L1Penalty``.

    Attributes:
        strength: of the penalty.
        form: of the penalty.
        grows: of the cumulative form: with every ``step`` (its default) or every ``epoch``.
        channels: penalise channels, not weights.
    """

    strength: float = Field(ge=0)
    form: Literal["cumulative", "proximal"] = "cumulative"
    grows: Literal["step", "epoch"] | None = None
    channels: bool = False

    def check(self, where: str) -> None:
        """Refuse growth of a form that has none."""
        if self.form == "proximal" and self.grows is not None:
            raise HwoptError(
                f"{where}.penalty: grows is of the cumulative form, not of the proximal"
            )

    def term(self, beginning: Beginning) -> Term:
        """Return the penalty."""
        from hwopt.passes import layers
        from hwopt.train import ChannelSlices, L1Penalty

        graph = beginning.graph
        return L1Penalty(
            strength=self.strength,
            form=self.form,
            grows=self.grows or "step",
            channels=ChannelSlices.of(graph) if self.channels else None,
            weights=layers.weights(graph),
        )
