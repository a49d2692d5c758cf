"""A search: candidates are suggested, trained, measured; and again, from what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt import targets
from hwopt.errors import HwoptError
from hwopt.files import write_json
from hwopt.job import asked_peers
from hwopt.job.workspace import Workspace
from hwopt.search.batch import TrialBatch
from hwopt.search.files import STUDY_FILE, finished_file
from hwopt.search.plan import StudyPlan
from hwopt.search.prepared import PreparedStudy
from hwopt.search.recipe import write_search
from hwopt.search.results import StudyResults
from hwopt.search.start_fresh import start_fresh
from hwopt.search.tasks import Tasks
from hwopt.search.trials import Trials, open_storage
from hwopt.search.write_results import read_finished, study_results

if TYPE_CHECKING:
    from hwopt.search.recipe import SearchRecipe
    from hwopt.search.workers.processes import Workers

#: Called with the state of a study, None before its first trial, and what is done now.
Report = Callable[["StudyResults | None", str], None]


class Study:
    """A search in a folder.

    Trials are kept by Optuna, everything that was computed by what it depends on: a study that was
    killed goes on where it stopped.

    Args:
        recipe: the model, its data, its training, the target, and how candidates are found.
        folder: where everything goes.
        workers: where candidates are trained.
        plugins: files with passes.
        report: called whenever the state of the study changes.
        fresh: forget what an earlier study left in the folder and in the storage.

    Raises:
        HwoptError: if nothing can be measured on the target, or a study to begin with cannot be
            read.
    """

    def __init__(
        self,
        recipe: SearchRecipe,
        folder: Path,
        *,
        workers: Workers | None = None,
        plugins: Sequence[Path] = (),
        report: Report | None = None,
        fresh: bool = False,
    ) -> None:
        self._plan = StudyPlan(recipe, folder, tuple(str(path.resolve()) for path in plugins))
        self._others = [StudyResults.of(Path(other)) for other in recipe.search.warm_start]
        self._tasks = Tasks(self._plan, workers)
        self._report = report or (lambda results, doing: None)
        self._fresh = fresh
        targets.require(self._plan.target)

    def run(self) -> StudyResults:
        """Search, write ``study.json`` and return it.

        Raises:
            HwoptError: if the network cannot be prepared, the space is empty, the storage is out of
                reach, or another study is at work in the folder.
        """
        plan = self._plan
        if self._fresh:
            start_fresh(plan.folder)
        with Workspace(plan.folder).alone():
            storage = open_storage(plan)
            write_search(plan.folder, plan.recipe)
            prepared = self._prepare()
            trials = Trials(plan, prepared, storage, self._fresh)
            trials.enqueue(_fronts(self._others, prepared))

            def say(doing: str) -> StudyResults:
                return self._written(study_results(plan, prepared, trials), doing)

            batch = TrialBatch(plan, prepared.space, trials, self._tasks, say)
            while some := trials.next():
                batch.run(some)
            return self._finished(prepared, trials, say)

    def _written(self, results: StudyResults, doing: str) -> StudyResults:
        results.write(self._plan.folder / STUDY_FILE)
        self._report(results, doing)
        return results.in_folder(self._plan.folder)

    def _prepare(self) -> PreparedStudy:
        """Train the network and find the space, in a process of its own."""
        self._report(None, "preparing: the baseline, and what every choice does by itself")
        outcome = self._tasks.prepare()
        if outcome.reason:
            raise HwoptError(f"the study could not be prepared: {outcome.reason}")
        return PreparedStudy.read(self._plan)

    def _finished(
        self, prepared: PreparedStudy, trials: Trials, say: Callable[[str], StudyResults]
    ) -> StudyResults:
        """Compile and test the front, and measure peers."""
        results = say("compiling the front")
        notes = []
        in_vain = trials.in_vain()
        if in_vain:
            notes.append(f"the search ended early: {in_vain}")
        failed = all(trial.state == "failed" for trial in results.trials)
        if not results.on_front and not failed:
            notes.append("no candidate kept to all limits")
        for trial in results.front:
            reason = self._compiled(str(trial.name), prepared.key)
            if reason:
                notes.append(f"trial {trial.number} could not be compiled: {reason}")
        peers = []
        if asked_peers.measurable(self._plan.recipe, self._plan.target):
            say("measuring peers")
            outcome = self._tasks.measure_peers()
            if outcome.reason:
                notes.append(f"peers could not be measured: {outcome.reason}")
            else:
                peers, failures = outcome.result["peers"], outcome.result["failures"]
                notes += failures
        return self._written(study_results(self._plan, prepared, trials, notes, peers), "done")

    def _compiled(self, name: str, key: str) -> str | None:
        """Compile and test a candidate where that is not done; say why it cannot be."""
        folder = self._plan.folder
        if read_finished(folder, name, key) is not None:
            return None
        file = finished_file(folder, name)
        file.unlink(missing_ok=True)
        outcome = self._tasks.finish(name)
        if outcome.reason is None:
            write_json(file, {"study": key, **outcome.result})
        return outcome.reason


def _fronts(others: Sequence[StudyResults], prepared: PreparedStudy) -> list[dict[str, Any]]:
    """Return the fronts of other studies, in the nearest values of a space."""
    found = [prepared.space.nearest(trial.choices) for other in others for trial in other.front]
    return [dict(point) for point in dict.fromkeys(tuple(one.items()) for one in found)]
