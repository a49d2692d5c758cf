"""Trains the networks of a job, and says what passes may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt import data, passes, train
from hwopt.compiler.graph_latency import GraphLatency
from hwopt.graph import Graph
from hwopt.job.keys import Beginning
from hwopt.job.recipe import Recipe, Training, Variant
from hwopt.job.steps import own_source
from hwopt.job.workspace import STEPS, Workspace
from hwopt.targets import threads_here
from hwopt.train import augment

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from hwopt.data import DataSet
    from hwopt.targets import Target
    from hwopt.targets.progress import Progress
    from hwopt.tasks import Task
    from hwopt.train import Term


class Trainer:
    """Trains in a job's folder.

    Args:
        recipe: what to do.
        work: where checkpoints and latencies go.
        data: what to train on, and what passes may ask for.
        task: what to train for.
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
        task: Callable[[], Task],
        target: Target,
        tuning: Progress | None = None,
        bars: bool = True,
        threads: int | None = None,
    ) -> None:
        self.recipe, self.work, self.data, self.target = recipe, work, data, target
        self._task = task
        self.tuning, self.bars = tuning, bars
        self.threads = threads or threads_here(target)

    @property
    def task(self) -> Task:
        """What is trained for."""
        return self._task()

    @property
    def training_data(self) -> Dataset[Any]:
        """All training samples; without those that the threshold of a router is chosen on."""
        routes = any(variant.route for variant in self.recipe.variants.values())
        return self.data.train if routes else self.data.train_full

    @property
    def samples(self) -> int:
        """That training takes."""
        return len(self.training_data)  # type: ignore[arg-type]

    @property
    def measures_by(self) -> list[Any]:
        """What latencies on the target depend on, as JSON."""
        return [self.target.fingerprint(), self.recipe.kernel_trials]

    def context(self) -> passes.Context:
        """Return what passes may ask for: training batches, and latency on the target."""

        def batches() -> Iterator[data.Batch]:
            return data.batches(self.data.train, passes.BATCH_SIZE, seed=self.recipe.seed)

        latency = GraphLatency(
            self.target,
            kernel_trials=self.recipe.kernel_trials,
            seed=self.recipe.seed,
            runs=self.recipe.comparison_runs,
            memory=self.work.path(STEPS, "latencies.json"),
            progress=self.tuning,
        )
        return passes.Context(
            batches=batches,
            task=self.task,
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

    def facts_of(self, training: Training) -> list[Any]:
        """Return all that a training depends on, as JSON."""
        augmentation = augment.find(training.augment)
        source = None if augmentation is None else own_source(augmentation)
        return [training.model_dump(), *([source] if source else [])]

    def terms(
        self,
        training: Training,
        graph: Graph,
        variant: Variant | None = None,
        base: Graph | None = None,
    ) -> list[Term]:
        """Return the terms of a training's objective.

        Args:
            training: may have keys with terms.
            graph: what is trained.
            variant: may have keys with terms, which need ...
            base: ... the network before the passes.
        """
        latency = self.context().latency
        return make_terms(training, graph, self.samples, variant, base, latency)

    def fit(self, graph: Graph, training: Training, terms: list[Term], checkpoint: Path) -> Graph:
        """Return a graph with the weights after training."""
        module = graph.to_torch()
        train.fit(
            module,
            self.training_data,
            self.task,
            checkpoint=checkpoint,
            terms=terms,
            **self.fit_arguments(training),
        )
        return graph.with_weights_of(module)


def make_terms(
    training: Training,
    graph: Graph,
    samples: int,
    variant: Variant | None = None,
    base: Graph | None = None,
    latency: Any = None,
) -> list[Term]:
    """Return the terms for training a graph.

    Args:
        training: may have a penalty and constraints.
        graph: what is trained.
        samples: that it is trained on.
        variant: may be distilled, or aligned ...
        base: ... with this network, which must be given then.
        latency: measures graphs; must be given if the variant has a budget.
    """
    beginning = Beginning(graph, base, training, samples, latency)
    keys: Mapping[str, Any] = {**training.keys, **(variant.keys if variant else {})}
    terms = [key.term(beginning) for key in keys.values()]
    return [term for term in terms if term is not None]
