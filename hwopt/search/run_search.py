"""``hwopt.search.run``: a search in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt import passes
from hwopt.search.recipe import SearchRecipe, load_search, make_search
from hwopt.search.results import StudyResults
from hwopt.search.study import Report, Study

if TYPE_CHECKING:
    from hwopt.search.workers.processes import Workers


def run(
    recipe: SearchRecipe | Mapping[str, Any] | str | Path,
    output: str | Path | None = None,
    *,
    fresh: bool = False,
    plugins: Sequence[str | Path] = (),
    workers: Workers | None = None,
    report: Report | None = None,
) -> StudyResults:
    """Search for the models that trade quality for latency best, as ``hwopt search`` does.

    What is done already is not done again. ``hwopt report OUTPUT`` writes the page.

    Args:
        recipe: a recipe with a part ``search``, its keys and values, or its file; see
            ``docs/search.md``.
        output: the folder for everything; by default ``runs/NAME``, after the file, or
            ``runs/search``.
        fresh: forget what an earlier study left in the folder.
        plugins: Python files that define passes.
        workers: where candidates are trained; by default processes of this machine.
        report: called with the state of the study, None before its first trial, and what is done.

    Returns:
        The results: ``.table()``, ``.best``, ``.front``, ``.trials``, ``.artifact(number)``.

    Raises:
        HwoptError: if the recipe is wrong, or the network cannot be prepared.
    """
    for plugin in plugins:
        passes.load_file(plugin)
    name = Path("search")
    if isinstance(recipe, str | Path):
        name, recipe = Path(recipe), load_search(Path(recipe))
    elif not isinstance(recipe, SearchRecipe):
        recipe = make_search(dict(recipe))
    folder = Path("runs") / name.stem if output is None else Path(output)
    files = [Path(plugin) for plugin in plugins]
    return Study(recipe, folder, workers=workers, plugins=files, report=report, fresh=fresh).run()
