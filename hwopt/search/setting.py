"""What every task of a study works with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hwopt.compiler.graph_latency import GraphLatency
from hwopt.files import read_json
from hwopt.prediction.measure_table import MEMORY
from hwopt.search.files import RECIPE_FILE
from hwopt.search.knowledge import Knowledge
from hwopt.search.networks import Networks
from hwopt.search.recipe import make_search
from hwopt.targets.database import own_folder


class Setting:
    """A study's folder, and what its recipe names.

    Args:
        folder: of the study, with its recipe in it.
        threads: of training; None takes those of the target.
        plugins: files with passes.

    Attributes:
        recipe, search: of the study.
        networks: that candidates begin with.
        job: of the baseline.
        samples: training takes those that are neither in the validation split, by which everything
            is chosen, nor in the test set.
        latency: measures, and remembers.
        known: of candidates, before they are trained.
    """

    def __init__(
        self, folder: Path, threads: int | None = None, plugins: Sequence[str] = ()
    ) -> None:
        self.folder, self.plugins = folder, plugins
        self.recipe = make_search(read_json(folder / RECIPE_FILE))
        self.search = self.recipe.search
        self.networks = Networks(self.recipe.of_job(), folder, threads)
        self.job, self.samples = self.networks.baseline, self.networks.samples
        self.latency = self.measuring(own_folder(self.job.target) / MEMORY)
        self.known = Knowledge(self.job, self.latency)

    def measuring(self, memory: Path | None) -> GraphLatency:
        """Return what measures graphs, and remembers in a file, or nothing from before."""
        recipe = self.recipe
        return GraphLatency(
            self.job.target,
            kernel_trials=recipe.kernel_trials,
            seed=recipe.seed,
            runs=recipe.comparison_runs,
            memory=memory,
        )
