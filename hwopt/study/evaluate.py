"""One candidate of a study, trained and measured again from nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwopt.errors import HwoptError
from hwopt.files import write_json
from hwopt.optimize import Recipe, Variant
from hwopt.optimize.workspace import Workspace
from hwopt.passes import parse
from hwopt.study.candidate import Candidate
from hwopt.study.files import STUDY_FILE, candidate_file
from hwopt.study.processes import Processes, Task
from hwopt.study.recipe import Search, write_search

NAME = "candidate"


def evaluate(
    recipe: Recipe, search: Search, candidate: str, folder: Path, plugins: Sequence[Path] = ()
) -> dict[str, Any]:
    """Do with a candidate what a study does: train, measure, compile, test.

    Args:
        recipe, search: of the study.
        candidate: passes, or the file of a candidate in a study's folder.
        folder: where everything goes; not that of a study.
        plugins: files with passes.

    Returns:
        Its figures, as in ``study.json``.

    Raises:
        HwoptError: if a step fails, or the folder is a study's.
    """
    if (folder / STUDY_FILE).exists():
        raise HwoptError(f"{folder} is the folder of a study: choose another one")
    given = _candidate(candidate, search)
    files = tuple(str(path.resolve()) for path in plugins)
    assert recipe.fine_tune is not None
    steps: tuple[tuple[str, dict[str, Any]], ...] = (
        ("train", {"name": NAME, "epochs": recipe.fine_tune.epochs}),
        ("measure", {"names": [NAME], "again": True}),
        ("finish", {"name": NAME}),
    )
    found: dict[str, Any] = {"passes": given.variant.passes, "artifact": f"artifacts/{NAME}"}
    with Workspace(folder).alone():
        write_search(folder, recipe, search)
        write_json(candidate_file(folder, NAME), given.model_dump(mode="json"))
        for do, arguments in steps:
            (outcome,) = Processes().run(folder, [Task(do, arguments, files)], math.inf)
            if outcome.reason:
                raise HwoptError(f"{do}: {outcome.reason}")
            found |= outcome.result[NAME] if do == "measure" else outcome.result
            if "over" in found:
                raise HwoptError(f"the candidate is over a limit: {found['over']}")
    return found


def _candidate(text: str, search: Search) -> Candidate:
    if text.endswith(".json"):
        return Candidate.read(Path(text))
    parse(text)
    return Candidate(variant=Variant(passes=text, binary=search.binary_of(text)))
