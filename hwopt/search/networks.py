"""The networks that candidates of a study begin with, trained once for all of them."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt.job import Job, Variant
from hwopt.job.importing import load_data
from hwopt.job.quality import judge, lost
from hwopt.job.steps import Network
from hwopt.job.workspace import digest
from hwopt.search.files import MODELS, SHARED_LOCK
from hwopt.train.cpu import set_threads

if TYPE_CHECKING:
    from hwopt.job import Recipe
    from hwopt.search.candidate import Candidate

#: The variant that the untouched network is.
BASELINE = "dense"


class Networks:
    """Jobs in a study's folder.

    Args:
        recipe: of the study.
        folder: of the study.
        threads: of training; None takes those of the target.

    Attributes:
        samples: training takes those that are neither in the validation split nor in the test set.
        baseline: the job of the recipe's model.
    """

    def __init__(self, recipe: Recipe, folder: Path, threads: int | None) -> None:
        self._recipe, self._folder, self._threads = recipe, folder, threads
        given = load_data(recipe)
        self.samples = dataclasses.replace(given, train_full=given.train)
        self.baseline = self._job(recipe, folder)

    def fine_tuned_for(self, epochs: int) -> Job:
        """Return the job of the recipe's model with another length of fine-tuning."""
        assert self._recipe.fine_tune is not None
        fine_tune = self._recipe.fine_tune.model_copy(update={"epochs": epochs})
        return self._job(self._recipe.model_copy(update={"fine_tune": fine_tune}), self._folder)

    def of_model(self, options: Mapping[str, Any]) -> Job:
        """Return the job of the model with other options."""
        changed = {**self._recipe.model_options, **options}
        recipe = self._recipe.model_copy(update={"model_options": changed})
        return self._job(recipe, self._folder / MODELS / digest(changed))

    def base(self, candidate: Candidate) -> Network:
        """Return what the passes of a candidate are applied to, trained."""
        if not candidate.model_options:
            return self.baseline.trained()
        with self._alone():
            return self.of_model(candidate.model_options).trained()

    def make_expert(self, job: Job) -> None:
        """Make the baseline a variant that others of a job may ask."""
        with self._alone():
            job.compressed(BASELINE, Variant(), self.baseline.trained())

    def validated(self, name: str, network: Network) -> dict[str, Any]:
        """Return ``quality``, ``low`` and ``high`` of a network on the validation split.

        Of another network than the baseline also ``worse_by``: how much worse it is than that at
        the most, with 95 %.
        """
        work, task, file = self.baseline.work, self.baseline.task, self._scores(name)
        if name != BASELINE:  # a candidate by itself has none to be compared with yet
            self.validated(BASELINE, self.baseline.trained())

        def judged() -> dict[str, Any]:
            with set_threads(self.baseline.threads):
                found = judge(network.graph, self.samples.validation, task, file)
            if name != BASELINE:
                found["worse_by"] = lost(task, file, self._scores(BASELINE))
            return {key: found[key] for key in found if key != "test_samples"}

        found, _ = work.step(f"{name}.validation", network.key, judged, makes=file)
        return dict(found)

    def _scores(self, name: str) -> Path:
        """Return where it is kept how good a network is on every sample of the validation split."""
        return self.baseline.work.path("scores", f"{name}.validation.safetensors")

    def _job(self, recipe: Recipe, folder: Path) -> Job:
        options: dict[str, Any] = {"data_set": self.samples, "training_threads": self._threads}
        return Job(recipe, folder, bars=False, **options)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until no other worker of this study makes what several candidates need."""
        with (self._folder / SHARED_LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
