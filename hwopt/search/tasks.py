"""The tasks of a study, given to those who do them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hwopt.search.baseline_tasks import MeasurePeers, PrepareSpace, TrainBaseline
from hwopt.search.candidate_tasks import FinishCandidate, MeasureCandidates, TrainCandidate
from hwopt.search.workers.processes import Outcome, Processes, Task, Workers

if TYPE_CHECKING:
    from hwopt.search.plan import StudyPlan

#: What a study has done, each with ``run(setting)`` and a result of JSON.
Work = (
    TrainBaseline
    | PrepareSpace
    | MeasurePeers
    | TrainCandidate
    | MeasureCandidates
    | FinishCandidate
)
#: Does one of them in a process of its own.
DO = "hwopt.search.do_task:do"


class Tasks:
    """Training goes to the workers; all else is done by processes of this machine.

    Args:
        plan: of the study.
        workers: where candidates are trained; by default processes of this machine.
    """

    def __init__(self, plan: StudyPlan, workers: Workers | None = None) -> None:
        self.plan, self.workers = plan, workers or Processes()

    def train_baseline(self) -> Outcome:
        """Train the baseline, with all threads of the target."""
        return self._here(TrainBaseline(), math.inf)

    def prepare(self) -> Outcome:
        """Train the baseline and find the space."""
        return self._here(PrepareSpace(), math.inf)

    def train(self, names: Sequence[str], epochs: int) -> list[Outcome]:
        """Train candidates side by side."""
        tasks = [
            self.task(TrainCandidate(name, epochs), self.plan.training_threads) for name in names
        ]
        return self.workers.run(tasks, self.plan.search.trial_seconds)

    def measure(self, names: Sequence[str], again: bool = False) -> Outcome:
        """Measure candidates in turns with the baseline."""
        return self._here(
            MeasureCandidates(tuple(names), again), self.plan.search.trial_seconds * len(names)
        )

    def finish(self, name: str) -> Outcome:
        """Compile a candidate and test it."""
        return self._here(FinishCandidate(name), self.plan.search.trial_seconds)

    def measure_peers(self) -> Outcome:
        """Measure the baseline in the recipe's peers."""
        return self._here(MeasurePeers(), self.plan.search.trial_seconds)

    def task(self, work: Work, threads: int | None = None) -> Task:
        """Return work for a process of its own.

        Args:
            work: what to do.
            threads: of training; None takes those of the target.
        """
        plan = self.plan
        arguments = {
            "folder": str(plan.folder.resolve()),
            "work": type(work).__name__,
            "options": dataclasses.asdict(work),
            "plugins": list(plan.plugins),
            "threads": threads,
        }
        # Some passes round widths to the vectors of the machine that they run on.
        lanes = plan.target.float_lanes if plan.recipe.target == "host" else None
        return Task(DO, arguments, threads or 1, lanes)

    def _here(self, work: Work, seconds: float) -> Outcome:
        return Processes().run([self.task(work)], seconds)[0]
