"""The steps that make one variant of a network: passes, training, and what comes after it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt import passes, train
from hwopt.errors import HwoptError
from hwopt.files import sha256
from hwopt.graph import Graph
from hwopt.graph.fingerprint import fingerprint
from hwopt.optimize.recipe import Routing, Training, Variant
from hwopt.optimize.routed import routed, saved_expert, trains_routing
from hwopt.optimize.terms import make_terms, with_real_weights
from hwopt.optimize.workspace import digest
from hwopt.search.latency_budget import limit_ms

if TYPE_CHECKING:
    from hwopt.optimize.compression import Compression

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

    def _depends_on(self, base_key: str) -> list[Any]:
        parsed = passes.parse(self.variant.passes)
        target = self.compression.target
        depends_on: list[Any] = [
            base_key,
            self.variant.passes,
            [_own_source(type(one)) for one in parsed],
            target.float_lanes,
            *(sha256(file) for one in parsed for file in one.files if file.exists()),
        ]
        if measures(self.variant) or self.variant.budget:
            depends_on += [target.fingerprint(), self.compression.recipe.trials]
        return depends_on

    def _at_once(self, base: Graph, depends_on: list[Any]) -> Made:
        """Apply the passes, then train if the recipe asks for it."""
        folder = self._folder("passes")

        def transform() -> dict[str, Any]:
            context = self.compression.context()
            passes.apply(base, self.variant.passes, context).save(folder)
            return {"notes": [f"{passed}: {note}" for passed, note in context.notes]}

        facts, key = self.work.step(f"{self.name}.passes", depends_on, transform)
        graph = Graph.load(folder)
        if self.training is None:
            return facts, graph, key
        if self.variant.binary is not None:
            first, real = with_real_weights(self.training, self.variant)
            graph, key = self._fit("first-phase", graph, first, key, real, base)
        graph, key = self._fit("fine-tune", graph, self.training, key, self.variant, base)
        if self.variant.binary is not None:
            graph, key = self._frozen(graph, key)
        if self.variant.budget is not None:
            found, graph, key = self._condensed(graph, key)
            facts = _with_notes(facts, found)
        return facts, graph, key

    def _fit(
        self, step: str, graph: Graph, training: Training, key: str, variant: Variant, base: Graph
    ) -> tuple[Graph, str]:
        latency = self.compression.context().latency
        terms = make_terms(training, graph, self.compression.samples, variant, base, latency)
        return self.compression.fit(
            f"{self.name}.{step}", graph, training, key, terms, self._folder(step)
        )

    def _in_rounds(self, base: Graph, depends_on: list[Any]) -> Made:
        """Apply the passes bit by bit, and train after each round."""
        folder, variant, training = self._folder("rounds"), self.variant, self.training
        assert training is not None
        of_rounds = variant.model_dump(exclude={"route"})
        depends_on = [*depends_on, of_rounds, training.model_dump(), self.compression.samples]

        def rounds() -> dict[str, Any]:
            context = self.compression.context()
            graph = train.fit_in_rounds(
                base,
                self.compression.training_data,
                variant.passes,
                rounds=variant.rounds,
                growth=variant.growth,
                terms=lambda graph: make_terms(
                    training, graph, self.compression.samples, variant, base
                ),
                context=context,
                folder=self.work.path("checkpoints", f"{self.name}-{digest(depends_on)}"),
                **self.compression.fit_arguments(training),
            )
            graph.save(folder)
            return {"notes": [f"{passed}: {note}" for passed, note in context.notes]}

        facts, key = self.work.step(f"{self.name}.rounds", depends_on, rounds)
        return facts, Graph.load(folder), key

    def _frozen(self, graph: Graph, key: str) -> tuple[Graph, str]:
        """Make one bit of each weight of the binary layers, which training left at +1 and -1."""
        folder = self._folder("freeze")

        def freeze() -> dict[str, Any]:
            passes.apply(graph, "freeze-binary").save(folder)
            return {}

        _, key = self.work.step(f"{self.name}.freeze", [key], freeze)
        return Graph.load(folder), key

    def _condensed(self, graph: Graph, key: str) -> Made:
        """Remove the channels that training left at zero, and say whether that is enough."""
        folder, budget = self._folder("condense"), self.variant.budget
        assert budget is not None

        def condense() -> dict[str, Any]:
            context = self.compression.context()
            small = passes.apply(graph, "condense", context)
            small.save(folder)
            assert context.latency is not None
            dense_ms, latency_ms = context.latency([graph, small])
            budget_ms = limit_ms(dense_ms, budget.ms, budget.share)
            verdict = "inside" if latency_ms <= budget_ms else "missed"
            note = f"budget: {latency_ms:.4g} of {budget_ms:.4g} ms: {verdict}"
            return {"notes": [*(f"{passed}: {note}" for passed, note in context.notes), note]}

        facts, key = self.work.step(f"{self.name}.condense", [key], condense)
        return facts, Graph.load(folder), key

    def _routed(
        self,
        route: Routing,
        facts: dict[str, Any],
        graph: Graph,
        key: str,
        made: dict[str, tuple[Graph, str]],
    ) -> Made:
        """Let an expert answer what is hard."""
        folder, training = self._folder("route"), self.compression.recipe.fine_tune
        expert: Graph | None
        if route.expert in made:
            expert, of_expert = made[route.expert]
        else:
            expert = saved_expert(route)
            of_expert = "" if expert is None else fingerprint(expert)
        depends_on: list[Any] = [key, of_expert, route.model_dump()]
        if trains_routing(route):
            assert training is not None
            depends_on.append(training.arguments())
        if route.mean_ms:
            depends_on += [self.compression.target.fingerprint(), self.compression.recipe.trials]
        checkpoint = self.work.path(
            "checkpoints", f"{self.name}.route-{digest(depends_on)}.safetensors"
        )

        def join() -> dict[str, Any]:
            options = {} if training is None else self.compression.fit_arguments(training)
            data, context = self.compression.data, self.compression.context()
            try:
                result, notes = routed(graph, expert, route, data, context, checkpoint, options)
            except HwoptError as error:
                raise HwoptError(f"variant {self.name}: route: {error}") from None
            result.save(folder)
            return {"notes": notes}

        found, key = self.work.step(f"{self.name}.route", depends_on, join)
        checkpoint.unlink(missing_ok=True)
        return _with_notes(facts, found), Graph.load(folder), key


def measures(variant: Variant) -> bool:
    """Return whether passes of a variant measure latency."""
    return any(one.needs_latency for one in passes.parse(variant.passes))


def _with_notes(facts: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {**facts, "notes": [*facts["notes"], *more["notes"]]}


def _own_source(pass_type: type[passes.Pass]) -> str | None:
    """Return the hash of the file that defines a pass; hwopt's own change with its version."""
    if pass_type.__module__.partition(".")[0] == "hwopt":
        return None
    return sha256(Path(inspect.getfile(pass_type)))
