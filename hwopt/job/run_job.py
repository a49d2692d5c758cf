"""``hwopt.optimize``: the main job in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hwopt import passes
from hwopt.job.job import Job
from hwopt.job.read_recipe import load_recipe, make_recipe
from hwopt.job.recipe import Recipe
from hwopt.job.results import JobResults


def optimize(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    output: str | Path | None = None,
    *,
    fresh: bool = False,
    plugins: Sequence[str | Path] = (),
    report: Callable[[str, bool], None] | None = None,
) -> JobResults:
    """Train, compress, compile, check and measure a model, as ``hwopt optimize`` does.

    What is done already is not done again. ``hwopt report OUTPUT`` writes the page.

    Args:
        recipe: a recipe, its keys and values, or its file; see ``docs/optimize.md``.
        output: the folder for everything; by default ``runs/NAME``, after the file or the model.
        fresh: forget what an earlier job left in the folder.
        plugins: Python files that define passes.
        report: called with (step, whether its result was there already).

    Returns:
        The results: ``.table()``, ``.best``, ``.variants[name]``, ``.artifact(name)``.

    Raises:
        HwoptError: if the recipe is wrong, or a step fails for a reason that the user can mend.

    >>> import tempfile
    >>> recipe = {"model": "resnet8", "model_options": {"width": 4}, "data": "digits", "peers": [],
    ...     "kernel_trials": 0, "runs": 20, "check_samples": 10, "variants": {"dense": ""}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     results = optimize(recipe, folder)
    ...     results.best, results.artifact("dense").threads == results.threads
    ('dense', True)
    """
    for plugin in plugins:
        passes.load_file(plugin)
    name = Path("job")
    if isinstance(recipe, str | Path):
        name, recipe = Path(recipe), load_recipe(Path(recipe))
    elif not isinstance(recipe, Recipe):
        recipe = make_recipe(dict(recipe))
    folder = Path("runs") / name.stem if output is None else Path(output)
    return Job(recipe, folder, report=report).run(fresh=fresh)
