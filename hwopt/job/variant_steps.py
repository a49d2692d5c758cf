"""The steps that make one variant of a network: passes, training, and what comes after it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt import passes, train
from hwopt.allocation.latency_budget import limit_ms
from hwopt.errors import HwoptError
from hwopt.files import sha256
from hwopt.graph import Graph
from hwopt.job.recipe import Budget, Routing, Training, Variant
from hwopt.job.routed import expert_file, routed, saved_expert, trains_routing
from hwopt.job.terms import make_terms, with_real_weights
from hwopt.job.workspace import digest

if TYPE_CHECKING:
    from hwopt.job.compression import Compression

#: Facts for the table, the graph, and what it is known by.
Made = tuple[dict[str, Any], Graph, str]


class VariantSteps:
    """Makes a variant; every step keeps its graph in a folder, the last one under the name.

    Args:
        compression: trains, and says what passes may ask for.
        name: of the variant.
        variant: from the recipe.
    """

    def __init__(self, compression: Compression, name: str, variant: Variant) -> None:
        self.compression, self.work = compression, compression.work
        self.name, self.variant = name, variant
        fine_tune = compression.recipe.fine_tune
        self.training = fine_tune if variant.changes and variant.fine_tune else None
        self.last = self._last()

    def make(self, base: Graph, base_key: str, made: dict[str, tuple[Graph, str]]) -> Made:
        """Make it.

        Args:
            base: the network, known by ...
            base_key: ... this.
            made: the variants before it, with what they are known by.
        """
        depends_on = self._depends_on(base_key)
        in_rounds = self.training is not None and self.variant.rounds > 1
        found = (self._in_rounds if in_rounds else self._at_once)(base, depends_on)
        if self.variant.route is not None:
            return self._routed(self.variant.route, *found, made)
        return found

    def _last(self) -> str:
        """Return the last step."""
        if self.variant.route:
            return "route"
        if self.training is None:
            return "passes"
        if self.variant.rounds > 1:
            return "rounds"
        after = {"freeze": self.variant.binary, "condense": self.variant.budget}
        return next((step for step, is_there in after.items() if is_there), "fine-tune")

    def _folder(self, step: str) -> Path:
        return self.work.path("graphs", self.name if step == self.last else f"{self.name}.{step}")

    def _step(
        self, step: str, depends_on: list[Any], compute: Callable[[], tuple[Graph, list[str]]]
    ) -> Made:
        """Do a step, from which come a graph and notes, if it is not done."""
        folder = self._folder(step)

        def save() -> dict[str, Any]:
            graph, notes = compute()
            graph.save(folder)
            return {"notes": notes}

        # With another last step the folder has another graph.
        depends_on = [*depends_on, folder.name]
        facts, key = self.work.step(f"{self.name}.{step}", depends_on, save, makes=folder)
        return facts, Graph.load(folder), key

    def _depends_on(self, base_key: str) -> list[Any]:
        parsed = passes.parse(self.variant.passes)
        target = self.compression.target
        depends_on: list[Any] = [
            base_key,
            self.variant.passes,
            [own_source(type(one)) for one in parsed],
            target.float_lanes,
            *(sha256(file) for one in parsed for file in one.files if file.exists()),
        ]
        if measures(self.variant) or self.variant.budget:
            depends_on += [target.fingerprint(), self.compression.recipe.trials]
        return depends_on

    def _at_once(self, base: Graph, depends_on: list[Any]) -> Made:
        """Apply the passes, then train if the recipe asks for it."""
        apply = functools.partial(self._passed, base, self.variant.passes)
        facts, graph, key = self._step("passes", depends_on, apply)
        if self.training is None:
            return facts, graph, key
        if self.variant.binary is not None:
            first, real = with_real_weights(self.training, self.variant)
            graph, key = self._fit("first-phase", graph, first, key, real, base)
        graph, key = self._fit("fine-tune", graph, self.training, key, self.variant, base)
        if self.variant.binary is not None:
            # Training left +1 and -1: one bit of each weight stays.
            freeze = functools.partial(self._passed, graph, "freeze-binary")
            _, graph, key = self._step("freeze", [key], freeze)
        if self.variant.budget is not None:
            condense = functools.partial(self._condensed, graph, self.variant.budget)
            found, graph, key = self._step("condense", [key], condense)
            facts = _with_notes(facts, found)
        return facts, graph, key

    def _passed(self, graph: Graph, text: str) -> tuple[Graph, list[str]]:
        context = self.compression.context()
        return passes.apply(graph, text, context), _noted(context)

    def _fit(
        self, step: str, graph: Graph, training: Training, key: str, variant: Variant, base: Graph
    ) -> tuple[Graph, str]:
        compression = self.compression
        latency = compression.context().latency
        terms = make_terms(training, graph, compression.samples, variant, base, latency)
        folder = self._folder(step)
        return compression.fit(f"{self.name}.{step}", graph, training, key, terms, folder)

    def _in_rounds(self, base: Graph, depends_on: list[Any]) -> Made:
        """Apply the passes bit by bit, and train after each round."""
        compression, variant, training = self.compression, self.variant, self.training
        assert training is not None
        of_rounds = variant.model_dump(exclude={"route"})
        depends_on = [*depends_on, of_rounds, training.model_dump(), compression.samples]

        folder = self.work.path("checkpoints", f"{self.name}-{digest(depends_on)}")

        def rounds() -> tuple[Graph, list[str]]:
            context = compression.context()
            graph = train.fit_in_rounds(
                base,
                compression.training_data,
                variant.passes,
                rounds=variant.rounds,
                growth=variant.growth,
                terms=lambda graph: make_terms(training, graph, compression.samples, variant, base),
                context=context,
                folder=folder,
                **compression.fit_arguments(training),
            )
            return graph, _noted(context)

        made = self._step("rounds", depends_on, rounds)
        train.remove_rounds(folder)
        return made

    def _condensed(self, graph: Graph, budget: Budget) -> tuple[Graph, list[str]]:
        """Remove the channels that training left at zero, and say whether that is enough."""
        context = self.compression.context()
        small = passes.apply(graph, "condense", context)
        assert context.latency is not None
        dense_ms, latency_ms = context.latency([graph, small])
        budget_ms = limit_ms(dense_ms, budget.ms, budget.share)
        verdict = "inside" if latency_ms <= budget_ms else "missed"
        return small, [
            *_noted(context),
            f"budget: {latency_ms:.4g} of {budget_ms:.4g} ms: {verdict}",
        ]

    def _routed(
        self,
        route: Routing,
        facts: dict[str, Any],
        graph: Graph,
        key: str,
        made: dict[str, tuple[Graph, str]],
    ) -> Made:
        """Let an expert answer what is hard."""
        compression, training = self.compression, self.compression.recipe.fine_tune
        expert: Graph | None
        if route.expert in made:
            expert, of_expert = made[route.expert]
        else:
            expert, of_expert = saved_expert(route), expert_file(route)
        depends_on: list[Any] = [key, of_expert, route.model_dump()]
        options = {}
        if trains_routing(route):
            assert training is not None
            depends_on.append(training.arguments())
            options = compression.fit_arguments(training)
        if route.mean_ms:
            depends_on += [compression.target.fingerprint(), compression.recipe.trials]
        checkpoint = self.work.path(
            "checkpoints", f"{self.name}.route-{digest(depends_on)}.safetensors"
        )

        def join() -> tuple[Graph, list[str]]:
            data, context = compression.data, compression.context()
            try:
                return routed(graph, expert, route, data, context, checkpoint, options)
            except HwoptError as error:
                raise HwoptError(f"variant {self.name}: route: {error}") from None

        found, graph, key = self._step("route", depends_on, join)
        checkpoint.unlink(missing_ok=True)
        return _with_notes(facts, found), graph, key


def measures(variant: Variant) -> bool:
    """Return whether passes of a variant measure latency."""
    return any(one.needs_latency for one in passes.parse(variant.passes))


def _noted(context: passes.Context) -> list[str]:
    return [f"{passed}: {note}" for passed, note in context.notes]


def _with_notes(facts: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {**facts, "notes": [*facts["notes"], *more["notes"]]}


def own_source(pass_type: type[passes.Pass]) -> str | None:
    """Return the hash of the file that defines a pass; hwopt's own change with its version."""
    if pass_type.__module__.partition(".")[0] == "hwopt":
        return None
    return sha256(Path(inspect.getfile(pass_type)))
