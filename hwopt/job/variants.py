"""The variants of a job: each a list of steps from the trained network on."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from hwopt import passes, train
from hwopt.errors import HwoptError
from hwopt.files import sha256
from hwopt.graph import Graph
from hwopt.job.keys import Routing
from hwopt.job.recipe import Training, Variant
from hwopt.job.steps import GraphStep, Network, do, own_source
from hwopt.job.trainer import Trainer


class Variants:
    """Makes variants; those that were made may be experts of others.

    Args:
        trainer: of the job.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.made: dict[str, Network] = {}
        #: By variant, where the graph after every step lies.
        self.folders: dict[str, dict[str, Path]] = {}

    def make(self, name: str, variant: Variant, base: Network) -> tuple[Network, list[str]]:
        """Make a variant, where that is not done.

        Every step keeps its graph in a folder, the last one under the name of the variant.

        Args:
            name: of the variant.
            variant: from the recipe.
            base: the network that its passes are applied to.

        Returns:
            The network, and what its passes and its keys have to say.
        """
        steps = VariantSteps(self, name, variant).of(base)
        network, notes = base, []
        self.folders[name] = {}
        for step in steps:
            folder = name if step is steps[-1] else f"{name}.{step.name}"
            path = self.trainer.work.path("graphs", folder)
            network, said = do(self.trainer.work, f"{name}.{step.name}", step, network, path)
            self.folders[name][step.name] = path
            notes += said
        self.made[name] = network
        return network, notes

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
        recipe = self.trainer.recipe
        for name, variant in recipe.variants.items():
            if measures(variant) or not (variant.of_training or variant.route):
                continue
            depends_on: list[Any] = [key, variant.model_dump()]
            depends_on.append(recipe.fine_tune and recipe.fine_tune.model_dump())
            if variant.route is not None:
                of_expert = recipe.variants.get(variant.route.expert)
                depends_on += [of_expert and of_expert.model_dump(), variant.route.expert_file()]
            rehearse = functools.partial(VariantSteps(self, name, variant).rehearse, graph)
            try:
                self.trainer.work.step(f"{name}.trainable", depends_on, rehearse)
            except HwoptError as error:
                raise HwoptError(f"variant {name}: {error}") from None


class VariantSteps:
    """The steps of one variant.

    Args:
        variants: of the job.
        name: of the variant.
        variant: from the recipe.

    Attributes:
        base: the network before the passes, as soon as steps are asked for.
        training: after the passes; None if there is none.
    """

    def __init__(self, variants: Variants, name: str, variant: Variant) -> None:
        self.trainer, self.made = variants.trainer, variants.made
        self.name, self.variant = name, variant
        self.base: Graph | None = None
        fine_tune = self.trainer.recipe.fine_tune
        self.training = fine_tune if variant.changes and variant.fine_tune else None

    def of(self, base: Network) -> list[GraphStep]:
        """Return all steps, in order, from a network on."""
        self.base = base.graph
        variant, training = self.variant, self.training
        if training is None:
            steps = [self.passes("passes", variant.passes)]
        elif variant.rounds > 1:
            steps = [self._rounds(training)]
        else:
            steps = [self.passes("passes", variant.passes)]
            for key in variant.keys.values():
                steps += key.steps_before(variant, training, self)
            steps.append(self.fit("fine-tune", training, variant))
        for key in variant.keys.values():
            if training is not None or not key.is_of_training:
                steps += key.steps_after(self)
        return steps

    def rehearse(self, graph: Graph) -> None:
        """Begin what trains the variant, and what comes after, as far as they are known."""
        changed = passes.apply(graph, self.variant.passes, self.trainer.context())
        training = self.trainer.recipe.fine_tune
        if training is not None and self.variant.of_training:
            module = changed.to_torch()
            for term in self.trainer.terms(training, changed, self.variant, graph):
                term.task = self.trainer.task
                term.start(module, self.trainer.samples)
                term.finish()
        for key in self.variant.keys.values():
            key.rehearse(changed, graph, self)

    # -- steps of the usual kinds, for keys of recipes ---------------------------------------

    def passes(self, step: str, text: str) -> GraphStep:
        """Return a step that applies passes."""
        parsed = passes.parse(text)
        depends_on: list[Any] = [
            text,
            [own_source(type(one)) for one in parsed],
            self.trainer.target.float_lanes,
            *(sha256(file) for one in parsed for file in one.files if file.exists()),
        ]
        if any(one.needs_latency for one in parsed):
            depends_on += self.trainer.measures_by

        def apply(graph: Graph, _: Path) -> tuple[Graph, list[str]]:
            context = self.trainer.context()
            return passes.apply(graph, text, context), context.remarks()

        return GraphStep(step, depends_on, apply)

    def fit(self, step: str, training: Training, variant: Variant) -> GraphStep:
        """Return a step that trains with the terms of a variant."""
        depends_on = [*self._of_fit(training, variant), self.trainer.samples]
        if variant.budget is not None:
            depends_on += self.trainer.measures_by

        def fit(graph: Graph, scratch: Path) -> tuple[Graph, list[str]]:
            terms = self.trainer.terms(training, graph, variant, self.base)
            return self.trainer.fit(graph, training, terms, scratch), []

        return GraphStep(step, depends_on, fit)

    # -- experts -----------------------------------------------------------------------------

    def expert(self, route: Routing) -> tuple[Graph | None, str]:
        """Return who is asked, a variant made before or what a folder has, and its key."""
        if route.expert in self.made:
            return self.made[route.expert]
        return route.saved_expert(), route.expert_file()

    def untrained_expert(self, route: Routing, base: Graph) -> Graph | None:
        """Return who will be asked as it is before training; None if that is not known yet."""
        of_expert = self.trainer.recipe.variants.get(route.expert)
        if of_expert is None:
            return route.saved_expert()
        if measures(of_expert) or of_expert.budget:
            return None
        return passes.apply(base, of_expert.passes, self.trainer.context())

    # -- private -----------------------------------------------------------------------------

    def _of_fit(self, training: Training, variant: Variant) -> list[Any]:
        keys = {name: key.model_dump() for name, key in variant.keys.items() if key.is_of_training}
        return [*self.trainer.facts_of(training), keys]

    def _rounds(self, training: Training) -> GraphStep:
        """Return a step that applies the passes bit by bit, and trains after each round."""
        variant, trainer = self.variant, self.trainer
        growth = variant.growth or "uniform"
        applied = self.passes("rounds", variant.passes)
        depends_on = [*applied.depends_on, *self._of_fit(training, variant), trainer.samples]
        depends_on += [variant.rounds, growth]

        def rounds(graph: Graph, scratch: Path) -> tuple[Graph, list[str]]:
            context = trainer.context()
            found = train.fit_in_rounds(
                graph,
                trainer.training_data,
                variant.passes,
                task=trainer.task,
                rounds=variant.rounds,
                growth=growth,
                terms=lambda one: trainer.terms(training, one, variant, graph),
                context=context,
                folder=scratch,
                **trainer.fit_arguments(training),
            )
            return found, context.remarks()

        return GraphStep("rounds", depends_on, rounds)


def measures(variant: Variant) -> bool:
    """Return whether passes of a variant measure latency."""
    return any(one.needs_latency for one in passes.parse(variant.passes))
