"""A study of seconds, for tests: a very small network on digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwopt.search.recipe import make_search
from hwopt.search.study import Study
from hwopt.search.workers.processes import Processes

PLUGIN = Path(__file__).parent / "misbehave.py"

RECIPE: dict[str, Any] = {
    "model": "tests.search.small:network",
    "model_options": {"width": 4},
    "data": "digits",
    "train": {"epochs": 2},
    "fine_tune": {"epochs": 1},
    "threads": 1,
    "kernel_trials": 0,
    "runs": 20,
    "comparison_runs": 20,
    "check_samples": 20,
    "peers": [],
    "search": {
        "space": ["prune-channels{multiple=2}"],
        "levels": 2,
        "trials": 3,
    },
}


def changed(**search: Any) -> dict[str, Any]:
    """Return the recipe with other values of ``search``."""
    return {**RECIPE, "search": {**RECIPE["search"], **search}}


class Counted(Processes):
    """Processes that remember what they were told to do."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def run(self, tasks, seconds):
        self.done += [task.arguments["work"] for task in tasks]
        return super().run(tasks, seconds)


def study(folder: Path, document: dict[str, Any] | None = None, **options: Any) -> Study:
    """Return a study in a folder."""
    return Study(make_search(document or RECIPE), folder, **options)
