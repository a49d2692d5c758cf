"""The steps of a job that change a network: training, passes, and both in rounds."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt import data, passes, train
from hwopt.compiler.graph_latency import GraphLatency
from hwopt.errors import HwoptError
from hwopt.files import sha256
from hwopt.graph import Graph
from hwopt.optimize.recipe import Budget, Recipe, Training, Variant
from hwopt.optimize.terms import make_terms, with_real_weights
from hwopt.optimize.workspace import STEPS, Workspace, digest
from hwopt.search.latency_budget import limit_ms

if TYPE_CHECKING:
    import torch

    from hwopt.data import DataSet
    from hwopt.targets import Target
    from hwopt.targets.progress import Progress
    from hwopt.train import Term


class Compression:
    """Trains the network of a job and makes its variants.

    Args:
        recipe: what to do.
        work: where graphs, checkpoints and records go.
        data: what to train on, and what passes may ask for.
        target: whose latency passes may ask for.
        tuning: progress of compiling for that; see ``hwopt.compile``.
        bars: show progress bars of training.
    """

    def __init__(
        self,
        recipe: Recipe,
        work: Workspace,
        data: DataSet,
        target: Target,
        tuning: Progress | None = None,
        bars: bool = True,
    ) -> None:
        self.recipe, self.work, self.data, self.target = recipe, work, data, target
        self.tuning, self.bars = tuning, bars

    @property
    def samples(self) -> int:
        """That training takes."""
        return len(self.data.train_full)  # type: ignore[arg-type]

    def check(self, graph: Graph, key: str) -> None:
        """Refuse variants whose passes leave nothing of what they want to train, or cannot start.

        So that it is not found out after the model was trained for hours. Passes that measure
        latency are left for then.

        Args:
            graph: the model, not trained yet, and ...
            key: ... what it is known by.

        Raises:
            HwoptError: if there are no binary layers, no blocks to distil, no masks to align, ...
        """
        for name, variant in self.recipe.variants.items():
            training = self.recipe.fine_tune
            if training is None or _measures(variant) or not variant.is_of_training:
                continue

            def check(variant: Variant = variant, training: Training = training) -> dict[str, Any]:
                changed = passes.apply(graph, variant.passes, self.context())
                module = changed.to_torch()
                terms = make_terms(
                    training, changed, self.samples, variant, graph, self.context().latency
                )
                for term in terms:
                    term.start(module, self.samples)
                    term.finish()
                return {}

            depends_on = [key, variant.model_dump(mode="json"), training.model_dump(mode="json")]
            try:
                self.work.step(f"{name}.trainable", depends_on, check)
            except HwoptError as error:
                raise HwoptError(f"variant {name}: {error}") from None

    def variant(
        self, name: str, variant: Variant, base: Graph, base_key: str
    ) -> tuple[dict[str, Any], Graph, str]:
        """Return the notes of the passes, the graph after them and after training, and its key."""
        training = self.recipe.fine_tune if variant.changes and variant.fine_tune else None
        sources = [_own_source(type(one)) for one in passes.parse(variant.passes)]
        depends_on: list[Any] = [base_key, variant.passes, sources, self.target.float_lanes]
        files = [file for one in passes.parse(variant.passes) for file in one.files]
        depends_on += [sha256(file) for file in files if file.exists()]
        if _measures(variant) or variant.budget:
            depends_on += [self.target.fingerprint(), self.recipe.trials]
        if training is not None and variant.rounds > 1:
            return self._in_rounds(name, variant, base, training, depends_on)
        return self._at_once(name, variant, base, training, depends_on)

    def _at_once(
        self,
        name: str,
        variant: Variant,
        base: Graph,
        training: Training | None,
        depends_on: list[Any],
    ) -> tuple[dict[str, Any], Graph, str]:
        """Apply the passes, then train if the recipe asks for it; the last graph has the name."""
        folder = self.work.path("graphs", name if training is None else f"{name}.passes")

        def transform() -> dict[str, Any]:
            context = self.context()
            passes.apply(base, variant.passes, context).save(folder)
            return {"notes": [f"{passed}: {note}" for passed, note in context.notes]}

        facts, key = self.work.step(f"{name}.passes", depends_on, transform)
        graph = Graph.load(folder)
        if training is None:
            return facts, graph, key
        if variant.binary is not None:
            first, real = with_real_weights(training, variant)
            terms = make_terms(first, graph, self.samples, real, base)
            graph, key = self.fit(f"{name}.first-phase", graph, first, key, terms)
        latency = self.context().latency
        terms = make_terms(training, graph, self.samples, variant, base, latency)
        ends = variant.binary is None and variant.budget is None
        tuned = name if ends else f"{name}.fine-tune"
        graph, key = self.fit(f"{name}.fine-tune", graph, training, key, terms, tuned)
        if variant.binary is not None:
            graph, key = self._frozen(name, graph, key)
        if variant.budget is not None:
            found, graph, key = self._condensed(name, graph, variant.budget, key)
            facts = {**facts, "notes": [*facts["notes"], *found["notes"]]}
        return facts, graph, key

    def _condensed(
        self, name: str, graph: Graph, budget: Budget, key: str
    ) -> tuple[dict[str, Any], Graph, str]:
        """Remove the channels that training left at zero, and say whether that is enough."""
        folder = self.work.path("graphs", name)

        def condense() -> dict[str, Any]:
            context = self.context()
            small = passes.apply(graph, "condense", context)
            small.save(folder)
            assert context.latency is not None
            dense_ms, latency_ms = context.latency([graph, small])
            budget_ms = limit_ms(dense_ms, budget.ms, budget.share)
            verdict = "inside" if latency_ms <= budget_ms else "missed"
            note = f"budget: {latency_ms:.4g} of {budget_ms:.4g} ms: {verdict}"
            return {"notes": [*(f"{passed}: {note}" for passed, note in context.notes), note]}

        facts, key = self.work.step(f"{name}.condense", [key], condense)
        return facts, Graph.load(folder), key

    def _frozen(self, name: str, graph: Graph, key: str) -> tuple[Graph, str]:
        """Make one bit of each weight of the binary layers, which training left at +1 and -1."""
        folder = self.work.path("graphs", name)

        def freeze() -> dict[str, Any]:
            passes.apply(graph, "freeze-binary").save(folder)
            return {}

        _, key = self.work.step(f"{name}.freeze", [key], freeze)
        return Graph.load(folder), key

    def _in_rounds(
        self,
        name: str,
        variant: Variant,
        base: Graph,
        training: Training,
        depends_on: list[Any],
    ) -> tuple[dict[str, Any], Graph, str]:
        """Apply the passes bit by bit, and train after each round."""
        folder = self.work.path("graphs", name)
        depends_on = [*depends_on, variant.model_dump(), training.model_dump()]

        def rounds() -> dict[str, Any]:
            context = self.context()
            graph = train.fit_in_rounds(
                base,
                self.data.train_full,
                variant.passes,
                rounds=variant.rounds,
                growth=variant.growth,
                terms=lambda graph: make_terms(training, graph, self.samples, variant, base),
                context=context,
                folder=self.work.path("checkpoints", f"{name}-{digest(depends_on)}"),
                seed=self.recipe.seed,
                threads=self.target.threads,
                progress=self.bars,
                **training.arguments(),
            )
            graph.save(folder)
            return {"notes": [f"{passed}: {note}" for passed, note in context.notes]}

        facts, key = self.work.step(f"{name}.rounds", depends_on, rounds)
        return facts, Graph.load(folder), key

    def context(self) -> passes.Context:
        """Return what passes may ask for: training batches, and latency on the target."""

        def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            return data.batches(self.data.train, passes.BATCH_SIZE, seed=self.recipe.seed)

        latency = GraphLatency(
            self.target,
            trials=self.recipe.trials,
            seed=self.recipe.seed,
            memory=self.work.path(STEPS, "latencies.json"),
            progress=self.tuning,
        )
        return passes.Context(
            batches=batches,
            latency=latency,
            vector_length=self.target.float_lanes,
            seed=self.recipe.seed,
        )

    def fit(
        self,
        step: str,
        graph: Graph,
        training: Training,
        key: str,
        terms: list[Term],
        name: str | None = None,
    ) -> tuple[Graph, str]:
        """Train a graph, known by ``key``; the result is kept under a name, or that of the step."""
        trained = self.work.path("graphs", name or step)
        depends_on = [key, training.arguments(), *map(str, terms)]
        # The name holds what the training depends on: a checkpoint of another is not resumed.
        checkpoint = self.work.path("checkpoints", f"{step}-{digest(depends_on)}.safetensors")

        def fit() -> dict[str, Any]:
            module = graph.to_torch()
            start = time.perf_counter()
            train.fit(
                module,
                self.data.train_full,
                seed=self.recipe.seed,
                threads=self.target.threads,
                checkpoint=checkpoint,
                progress=self.bars,
                terms=terms,
                **training.arguments(),
            )
            seconds = round(time.perf_counter() - start, 1)
            graph.with_weights_of(module).save(trained)
            return {"seconds": seconds}

        _, key = self.work.step(step, depends_on, fit)
        checkpoint.unlink(missing_ok=True)
        return Graph.load(trained), key


def _measures(variant: Variant) -> bool:
    return any(one.needs_latency for one in passes.parse(variant.passes))


def _own_source(pass_type: type[passes.Pass]) -> str | None:
    """Return the hash of the file that defines a pass; hwopt's own change with its version."""
    if pass_type.__module__.partition(".")[0] == "hwopt":
        return None
    return sha256(Path(inspect.getfile(pass_type)))
