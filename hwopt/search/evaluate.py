"""One candidate of a study, trained and measured again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwopt import targets
from hwopt.errors import HwoptError
from hwopt.files import write_json
from hwopt.job import Variant
from hwopt.job.workspace import Workspace
from hwopt.passes import parse
from hwopt.search.candidate import Candidate
from hwopt.search.files import STUDY_FILE, candidate_file
from hwopt.search.plan import StudyPlan
from hwopt.search.recipe import Search, SearchRecipe, write_search
from hwopt.search.start_fresh import start_fresh
from hwopt.search.tasks import Tasks
from hwopt.search.workers.processes import Outcome

NAME = "candidate"


def evaluate(
    recipe: SearchRecipe,
    candidate: str,
    folder: Path,
    plugins: Sequence[Path] = (),
    fresh: bool = False,
) -> dict[str, Any]:
    """Do with a candidate what a study does: train, measure, compile, test.

    What the folder has of the same candidate already is not done again, but for the measuring.

    Args:
        recipe: of the study.
        candidate: passes, or the file of a candidate in a study's folder.
        folder: where everything goes; not that of a study.
        plugins: files with passes.
        fresh: forget what the folder has.

    Returns:
        Its figures, as in ``study.json``.

    Raises:
        HwoptError: if nothing can be measured on the target, a step fails, or the folder is a
            study's.
    """
    if (folder / STUDY_FILE).exists():
        raise HwoptError(f"{folder} is the folder of a study: choose another one")
    given = _candidate(candidate, recipe.search)
    plan = StudyPlan(recipe, folder, tuple(str(path.resolve()) for path in plugins))
    targets.require(plan.target)
    tasks = Tasks(plan)
    found: dict[str, Any] = {"passes": given.variant.passes, "artifact": f"artifacts/{NAME}"}
    if fresh:
        start_fresh(folder)
    with Workspace(folder).alone():
        write_search(folder, recipe)
        write_json(candidate_file(folder, NAME), given.model_dump(mode="json"))
        if (
            reason := tasks.train_baseline().reason
        ):  # as a study does, before it divides the threads
            raise HwoptError(f"train: {reason}")
        (trained,) = tasks.train([NAME], plan.full_epochs)
        found |= _result("train", trained)
        if "over" in found:
            raise HwoptError(f"the candidate is over a limit: {found['over']}")
        found |= _result("measure", tasks.measure([NAME], again=True))[NAME]
        found |= _result("finish", tasks.finish(NAME))
    return found


def _result(what: str, outcome: Outcome) -> dict[str, Any]:
    if outcome.reason:
        raise HwoptError(f"{what}: {outcome.reason}")
    return dict(outcome.result)


def _candidate(text: str, search: Search) -> Candidate:
    if text.endswith(".json"):
        return Candidate.read(Path(text))
    parse(text)
    return Candidate(variant=Variant(passes=text, binary=search.binary_of(text)))
