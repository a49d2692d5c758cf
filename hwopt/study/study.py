"""A search: candidates are suggested, trained, measured; and again, from what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from hwopt import targets
from hwopt.errors import HwoptError, first_line
from hwopt.files import read_json, write_json
from hwopt.optimize import Recipe, asked_peers
from hwopt.optimize.workspace import Workspace, digest
from hwopt.passes import parse
from hwopt.search.allocate import Width
from hwopt.search.front import Point
from hwopt.search.guided import distributions
from hwopt.search.space import Space
from hwopt.study.batch import Batch
from hwopt.study.candidate import Candidate
from hwopt.study.document import front_of, measured_trials, study_document
from hwopt.study.files import SPACE_FILE, STUDY_FILE, TRIALS_FILE, finished_file
from hwopt.study.processes import Processes, Task, Workers
from hwopt.study.recipe import Search, write_search
from hwopt.study.samplers import make_sampler

if TYPE_CHECKING:
    from hwopt.study.document import Document

MAXIMIZE, MINIMIZE = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
#: Lost accuracy from which on a candidate is worth nothing to the front.
WORST_LOSS = 0.10
#: Trials in a row of which none was measured: they were there already, over a limit, or failed.
MOST_IN_VAIN = 50
#: What of a search may change without its trials becoming others'.
_MAY_CHANGE = {"trials", "patience", "workers", "trial_seconds", "sampler", "storage"}


class Study:
    """A search in a folder.

    Trials are kept by Optuna, everything that was computed by what it depends on: a study that was
    killed goes on where it stopped.

    Args:
        recipe: the model, its data, its training, the target.
        search: how candidates are found.
        folder: where everything goes.
        workers: where candidates are trained.
        plugins: files with passes.
        report: called with the state of the study whenever it changes, and what is done now.
        fresh: forget trials that the storage has of this study.
    """

    def __init__(
        self,
        recipe: Recipe,
        search: Search,
        folder: Path,
        *,
        workers: Workers | None = None,
        plugins: Sequence[Path] = (),
        report: Callable[[Document, str], None] | None = None,
        fresh: bool = False,
    ) -> None:
        self.recipe, self.search, self.folder = recipe, search, folder
        self.workers: Workers = workers or Processes()
        self.plugins = tuple(str(path.resolve()) for path in plugins)
        self._report = report or (lambda document, doing: None)
        self.fresh = fresh
        self.peers: list[dict[str, Any]] = []
        self.target = targets.get(recipe.target, threads=recipe.threads)
        self._work = Workspace(folder)

    def run(self) -> Document:
        """Search, write ``study.json`` and return its content.

        Raises:
            HwoptError: if the network cannot be prepared, the space is empty, the storage is out of
                reach, or another study is at work in the folder.
        """
        with self._work.alone():
            write_search(self.folder, self.recipe, self.search)
            self._prepare()
            self._open()
            while not self._is_over():
                Batch(self, self._next()).run()
            self._finish()
            return self.document("done")

    # -- the parts ---------------------------------------------------------------------------

    def task(self, do: str, **arguments: Any) -> Task:
        """Return a task for a worker."""
        return Task(do, arguments, self.plugins, self._threads() if do == "train" else None)

    def document(self, doing: str) -> Document:
        """Write and report the state of the study."""
        found = study_document(self)
        write_json(self.folder / STUDY_FILE, found)
        self._report(found, doing)
        return found

    def candidate(self, point: dict[str, Any]) -> Candidate:
        """Return what a point of the space makes of the model."""
        return Candidate.at(point, self.space, self.search)

    def _prepare(self) -> None:
        """Train the network and find the space, in a process of its own."""
        (outcome,) = Processes().run(self.folder, [self.task("prepare")], math.inf)
        if outcome.reason:
            raise HwoptError(f"the study could not be prepared: {outcome.reason}")
        found = read_json(self.folder / SPACE_FILE)
        self.baseline: dict[str, Any] = found["baseline"]
        self.data, self.notes = found["data"], found["notes"]
        dimensions = {name: tuple(values) for name, values in found["dimensions"].items()}
        self.table = {
            name: [Width(**one) for one in widths] for name, widths in found["table"].items()
        }
        passes = tuple(one for text in self.search.space for one in parse(text))
        self.space = Space(passes, dimensions)
        parts = self.search.model_dump(mode="json", exclude=_MAY_CHANGE)
        recipe = self.recipe.model_dump(mode="json", exclude={"peers"})
        #: What the trials depend on.
        self.key = digest([found["key"], recipe, parts])
        limits = self.search.limits
        least = max(self.baseline["accuracy"] - WORST_LOSS, limits.accuracy or 0.0)
        slowest = limits.ms / self.baseline["latency"]["median_ms"] if limits.ms else 1.0
        others = []
        for name in self.search.minimise:
            limit = getattr(limits, name)
            others.append(min(1.0, limit / self.baseline[name]) if limit else 1.0)
        self.worst = Point(least, min(1.0, limits.share or 1.0, slowest), tuple(others))

    def _open(self) -> None:
        """Open Optuna's study; begin with the fronts of others where it is new."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        own = f"sqlite:///{(self.folder / TRIALS_FILE).resolve()}"
        storage = self.search.storage or own
        # In a database of many, another folder is another study.
        where = digest(str(self.folder.resolve())) if self.search.storage else ""
        name = f"{self.recipe.model}-{self.key}{where}"
        try:
            if self.fresh and name in optuna.get_all_study_names(storage):
                optuna.delete_study(study_name=name, storage=storage)
            self.optuna = optuna.create_study(
                study_name=name,
                storage=storage,
                directions=[MAXIMIZE, MINIMIZE, *(MINIMIZE for _ in self.search.minimise)],
                load_if_exists=True,
            )
        except Exception as error:  # each database has errors of its own
            reason = first_line(error)
            raise HwoptError(f"the storage {storage} cannot be opened: {reason}") from error
        if not self.optuna.trials:
            for point in self._fronts_of_others():
                self.optuna.enqueue_trial(point)

    def _fronts_of_others(self) -> list[dict[str, Any]]:
        """Return the fronts of other studies, in the nearest values of this space."""
        found = []
        for folder in self.search.warm_start:
            other = read_json(Path(folder) / STUDY_FILE)
            choices = [other["trials"][number]["choices"] for number in other["front"]]
            found += [self.space.nearest(choice) for choice in choices]
        return [dict(point) for point in dict.fromkeys(tuple(one.items()) for one in found)]

    def _next(self) -> list[Trial]:
        """Return the trials that a killed run left, or as many new ones as there are workers."""
        left = self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        whole = []
        for trial in left:
            resumed = Trial(self.optuna, trial._trial_id)
            if trial.params.keys() == self.space.dimensions.keys():
                whole.append(resumed)
            else:
                resumed.set_user_attr("reason", "the study was killed while it was suggested")
                self.optuna.tell(resumed, state=TrialState.FAIL)
        if whole:
            return whole[: self.search.workers]
        wanted = min(self.search.workers, self.search.trials - len(measured_trials(self.optuna)))
        return [self._ask() for _ in range(wanted)]

    def _ask(self) -> Trial:
        number = len(self.optuna.get_trials(deepcopy=False))
        seed = 10_000 * self.recipe.seed + number
        self.optuna.sampler = make_sampler(
            self.search.sampler, self.space, self.table, self.worst, seed
        )
        return self.optuna.ask(distributions(self.space))

    def _is_over(self) -> bool:
        measured = measured_trials(self.optuna)
        ended = [t for t in self.optuna.get_trials(deepcopy=False) if t.state.is_finished()]
        tried = {trial.user_attrs.get("name") for trial in ended}
        if len(measured) >= self.search.trials or len(tried) >= self.space.size:
            return True
        last = measured[-1].number if measured else -1
        if sum(trial.number > last for trial in ended) >= MOST_IN_VAIN:
            reason = ended[-1].user_attrs.get("reason")
            note = f"{MOST_IN_VAIN} trials in a row were not measured; the last one: {reason}"
            self.notes.append(f"the search ended early: {note}")
            return True
        return bool(self.search.patience) and self._is_stuck(measured)

    def _is_stuck(self, measured: list[FrozenTrial]) -> bool:
        """Say whether the last trials left the front as it was."""
        before = measured[: -self.search.patience]
        return bool(before) and front_of(before) == front_of(measured)

    def _finish(self) -> None:
        """Compile and test the front."""
        document = self.document("compiling the front")
        if document["trials"] and not document["front"]:
            self.notes.append("no candidate kept to all limits")
        for number in document["front"]:
            name = self.optuna.trials[number].user_attrs["name"]
            file = finished_file(self.folder, name)
            if file.exists() and read_json(file)["study"] == self.key:
                continue
            file.unlink(missing_ok=True)
            task = self.task("finish", name=name)
            (outcome,) = Processes().run(self.folder, [task], self.search.trial_seconds)
            if outcome.reason:
                self.notes.append(f"trial {number} could not be compiled: {outcome.reason}")
            else:
                write_json(file, {"study": self.key, **outcome.result})
        if asked_peers.measurable(self.recipe, self.target):
            self._measure_peers()

    def _measure_peers(self) -> None:
        """Measure the unchanged network in the recipe's peers."""
        self.document("measuring peers")
        limit = self.search.trial_seconds
        (outcome,) = Processes().run(self.folder, [self.task("in_peers")], limit)
        if outcome.reason:
            self.notes.append(f"peers could not be measured: {outcome.reason}")
            return
        self.peers = outcome.result["peers"]
        self.notes += outcome.result["failures"]

    def _threads(self) -> int:
        """Return the threads of one training, so that all workers have the cores that there are."""
        return max(1, targets.threads_here(self.target) // self.search.workers)
