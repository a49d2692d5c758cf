"""The tasks of a study, given to those who do them: see ``hwopt.study.worker``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hwopt.study.plan import Plan
from hwopt.study.processes import Outcome, Processes, Task, Workers


class Tasks:
    """Training goes to the workers; all else is done by processes of this machine.

    Args:
        plan: of the study.
        workers: where candidates are trained; by default processes of this machine.
    """

    def __init__(self, plan: Plan, workers: Workers | None = None) -> None:
        self.plan, self.workers = plan, workers or Processes()

    def base(self) -> Outcome:
        """Train the unchanged network, with all threads of the target."""
        return self._here("base", math.inf)

    def prepare(self) -> Outcome:
        """Train the unchanged network and find the space."""
        return self._here("prepare", math.inf)

    def train(self, names: Sequence[str], epochs: int) -> list[Outcome]:
        """Train candidates side by side."""
        plan = self.plan
        tasks = [
            Task("train", {"name": name, "epochs": epochs}, plan.plugins, plan.training_threads)
            for name in names
        ]
        return self.workers.run(plan.folder, tasks, plan.search.trial_seconds)

    def measure(self, names: Sequence[str], again: bool = False) -> Outcome:
        """Measure candidates in turns with the unchanged network."""
        seconds = self.plan.search.trial_seconds * len(names)
        return self._here("measure", seconds, names=[*names], again=again)

    def finish(self, name: str) -> Outcome:
        """Compile a candidate and test it."""
        return self._here("finish", self.plan.search.trial_seconds, name=name)

    def in_peers(self) -> Outcome:
        """Measure the unchanged network in the recipe's peers."""
        return self._here("in_peers", self.plan.search.trial_seconds)

    def _here(self, do: str, seconds: float, **arguments: Any) -> Outcome:
        task = Task(do, arguments, self.plan.plugins)
        return Processes().run(self.plan.folder, [task], seconds)[0]
