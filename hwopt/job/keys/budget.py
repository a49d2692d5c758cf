"""``budget``: lose channels while training, until the measured latency is within a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from hwopt.errors import HwoptError
from hwopt.job.keys.base import Beginning, VariantKey
from hwopt.job.steps import GraphStep

if TYPE_CHECKING:
    from hwopt.graph import Graph
    from hwopt.job.recipe import Recipe
    from hwopt.job.variants import VariantSteps
    from hwopt.train import Term


class Budget(VariantKey):
    """Arguments of ``hwopt.allocation.latency_budget.LatencyBudget``.

    Either ``ms`` or a ``share`` of the latency of the network after ``passes``.
    """

    ms: float | None = Field(default=None, gt=0)
    share: float | None = Field(default=None, gt=0)
    every: PositiveInt = 1
    settled: float = Field(default=0.4, gt=0, lt=1)
    widths: int = Field(default=8, ge=2)
    multiple: PositiveInt = 1
    minimum: PositiveInt = 1

    def check(self, name: str, recipe: Recipe, where: str) -> None:
        """Refuse what the term refuses, and what it does not go with."""
        from hwopt.allocation.latency_budget import check_options

        variant = recipe.variants[name]
        if variant.rounds > 1 or variant.binary:
            other = "binary" if variant.binary else "rounds"
            raise HwoptError(f"{where}: budget does not go with {other}: leave one of them out")
        assert recipe.fine_tune is not None
        try:
            check_options(
                recipe.fine_tune.epochs,
                self.ms,
                self.share,
                self.every,
                self.settled,
                self.widths,
            )
        except HwoptError as error:
            raise HwoptError(f"{where}: fine_tune: {error}") from None

    def term(self, beginning: Beginning) -> Term:
        """Return the term that shrinks the network."""
        from hwopt.allocation.latency_budget import LatencyBudget

        assert beginning.latency is not None
        options, epochs = self.model_dump(exclude={"ms"}), beginning.training.epochs
        return LatencyBudget(
            beginning.graph, beginning.latency, epochs, budget_ms=self.ms, **options
        )

    def steps_after(self, steps: VariantSteps) -> list[GraphStep]:
        """Remove the channels that training left at zero, and say whether that is enough."""
        from hwopt import passes
        from hwopt.allocation.latency_budget import limit_ms

        def condense(graph: Graph, _: Path) -> tuple[Graph, list[str]]:
            context = steps.trainer.context()
            small = passes.apply(graph, "condense", context)
            assert context.latency is not None
            dense_ms, latency_ms = context.latency([graph, small])
            budget_ms = limit_ms(dense_ms, self.ms, self.share)
            verdict = "inside" if latency_ms <= budget_ms else "missed"
            said = f"budget: {latency_ms:.4g} of {budget_ms:.4g} ms: {verdict}"
            return small, [*map(str, context.remarks()), said]

        return [GraphStep("condense", [], condense)]
