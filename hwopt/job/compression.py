"""The steps of a job that change a network: training, passes, and both in rounds."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt import data, passes, train
from hwopt.compiler.graph_latency import GraphLatency
from hwopt.errors import HwoptError
from hwopt.graph import Graph
from hwopt.job.recipe import Recipe, Training, Variant
from hwopt.job.routed import expert_file, join, saved_expert
from hwopt.job.terms import make_terms
from hwopt.job.variant_steps import VariantSteps, measures
from hwopt.job.workspace import STEPS, Workspace, digest
from hwopt.targets import threads_here

if TYPE_CHECKING:
    import torch
    from torch.utils.data import Dataset

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
        threads: of training; None takes those of the target, if it is this machine.
    """

    def __init__(
        self,
        recipe: Recipe,
        work: Workspace,
        data: DataSet,
        target: Target,
        tuning: Progress | None = None,
        bars: bool = True,
        threads: int | None = None,
    ) -> None:
        self.recipe, self.work, self.data, self.target = recipe, work, data, target
        self.tuning, self.bars = tuning, bars
        self.threads = threads or threads_here(target)
        self._made: dict[str, tuple[Graph, str]] = {}

    @property
    def training_data(self) -> Dataset[Any]:
        """All training samples; without those that the threshold of a router is chosen on."""
        routes = any(variant.route for variant in self.recipe.variants.values())
        return self.data.train if routes else self.data.train_full

    @property
    def samples(self) -> int:
        """That training takes."""
        return len(self.training_data)  # type: ignore[arg-type]

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
            if measures(variant) or not (variant.of_training or variant.route):
                continue
            training = self.recipe.fine_tune
            depends_on: list[Any] = [key, variant.model_dump(), training and training.model_dump()]
            if variant.route is not None:
                of_expert = self.recipe.variants.get(variant.route.expert)
                depends_on += [of_expert and of_expert.model_dump(), expert_file(variant.route)]
            try:
                self.work.step(
                    f"{name}.trainable", depends_on, functools.partial(self._check, graph, variant)
                )
            except HwoptError as error:
                raise HwoptError(f"variant {name}: {error}") from None

    def _check(self, graph: Graph, variant: Variant) -> None:
        """Begin what trains a variant, and join it with its expert, as far as they are known."""
        context, training = self.context(), self.recipe.fine_tune
        changed = passes.apply(graph, variant.passes, context)
        if training is not None and variant.of_training:
            module = changed.to_torch()
            terms = make_terms(training, changed, self.samples, variant, graph, context.latency)
            for term in terms:
                term.start(module, self.samples)
                term.finish()
        if variant.route is not None:
            of_expert = self.recipe.variants.get(variant.route.expert)
            if of_expert is None:
                expert = saved_expert(variant.route)
            elif measures(of_expert) or of_expert.budget:
                return
            else:
                expert = passes.apply(graph, of_expert.passes, context)
            join(changed, expert, variant.route, context)

    def variant(
        self, name: str, variant: Variant, base: Graph, base_key: str
    ) -> tuple[dict[str, Any], Graph, str]:
        """Return the notes of the passes, the graph after them and after training, and its key."""
        facts, graph, key = VariantSteps(self, name, variant).make(base, base_key, self._made)
        self._made[name] = graph, key
        return facts, graph, key

    def context(self) -> passes.Context:
        """Return what passes may ask for: training batches, and latency on the target."""

        def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            return data.batches(self.data.train, passes.BATCH_SIZE, seed=self.recipe.seed)

        latency = GraphLatency(
            self.target,
            trials=self.recipe.trials,
            seed=self.recipe.seed,
            runs=self.recipe.runs_of_comparisons,
            memory=self.work.path(STEPS, "latencies.json"),
            progress=self.tuning,
        )
        return passes.Context(
            batches=batches,
            latency=latency,
            vector_length=self.target.float_lanes,
            seed=self.recipe.seed,
        )

    def fit_arguments(self, training: Training) -> dict[str, Any]:
        """Return arguments of ``fit``: those of the recipe, and what is the same in all."""
        return {
            "seed": self.recipe.seed,
            "threads": self.threads,
            "progress": self.bars,
            **training.arguments(),
        }

    def fit(
        self,
        step: str,
        graph: Graph,
        training: Training,
        key: str,
        terms: list[Term],
        folder: Path,
    ) -> tuple[Graph, str]:
        """Train a graph, known by ``key``; the result is kept in a folder."""
        depends_on = [key, training.arguments(), *map(str, terms), self.samples, folder.name]
        # The name holds what the training depends on: a checkpoint of another is not resumed.
        checkpoint = self.work.path("checkpoints", f"{step}-{digest(depends_on)}.safetensors")

        def fit() -> dict[str, Any]:
            module = graph.to_torch()
            start = time.perf_counter()
            train.fit(
                module,
                self.training_data,
                checkpoint=checkpoint,
                terms=terms,
                **self.fit_arguments(training),
            )
            seconds = round(time.perf_counter() - start, 1)
            graph.with_weights_of(module).save(folder)
            return {"seconds": seconds}

        _, key = self.work.step(step, depends_on, fit, makes=folder)
        checkpoint.unlink(missing_ok=True)
        return Graph.load(folder), key
