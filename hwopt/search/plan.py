"""What a study is to do, and all that its tasks and its trials need to know of that."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hwopt import targets

if TYPE_CHECKING:
    from hwopt.search.recipe import Search, SearchRecipe
    from hwopt.targets import Target


@dataclass(frozen=True)
class StudyPlan:
    """What a study is to do.

    Attributes:
        recipe: the model, its data, its training, the target, and how candidates are found.
        folder: where everything goes.
        plugins: files with passes.
    """

    recipe: SearchRecipe
    folder: Path
    plugins: tuple[str, ...] = ()

    @property
    def search(self) -> Search:
        """How candidates are found."""
        return self.recipe.search

    @functools.cached_property
    def target(self) -> Target:
        """What is measured on."""
        return targets.get(self.recipe.target, threads=self.recipe.threads)

    @property
    def training_threads(self) -> int:
        """Threads of one training, so that all workers have the cores that there are."""
        return max(1, targets.threads_here(self.target) // self.search.workers)

    @property
    def full_epochs(self) -> int:
        """Of a candidate's whole training."""
        assert self.recipe.fine_tune is not None
        return self.recipe.fine_tune.epochs
