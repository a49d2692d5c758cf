"""``hwopt search``: the trade-off of quality and latency."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwopt.cli import options
from hwopt.errors import HwoptError
from hwopt.plugins import SAMPLERS

if TYPE_CHECKING:
    from hwopt.search.recipe import SearchRecipe
    from hwopt.search.results import StudyResults


@click.command("search")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--trials",
    type=click.IntRange(1),
    help="Networks to measure.",
)
@click.option(
    "--sampler",
    type=options.Installed(SAMPLERS),
    help="Who suggests them.  [default: the recipe's]",
)
@click.option("--workers", type=click.IntRange(1), help="Candidates trained at the same time.")
@click.option("--ray", help="Train on a Ray cluster: HOST:PORT, or local.")
@click.option("--target", help="A target's name or .toml file.  [default: the recipe's]")
@options.threads_option
@click.option("--seed", type=options.SEED, help="Of weights, training and suggestions.")
@click.option("--evaluate", metavar="CANDIDATE", help="Train and measure one: passes, or its file.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder.  [default: runs/NAME of the recipe]"
)
@options.no_worse_option
@click.option("--resume/--fresh", default=True, help="Go on where a study stopped, or start anew.")
@options.plugin_option
@options.json_option
def command(
    recipe: Path,
    ray: str | None,
    evaluate: str | None,
    output: Path | None,
    resume: bool,
    plugins: tuple[Path, ...],
    as_json: bool,
    **flags: Any,
) -> None:
    """Search for the models that trade quality for latency best: RECIPE has a part `search`.

    Candidates are suggested, trained and measured on the target, until the front of the best ones
    is compiled. Everything is recorded: the same command run again goes on where it stopped. See
    `hwopt report` for the page, and `hwopt pick` for one of the models.

    \b
    hwopt search recipes/search.yaml
    hwopt pick runs/search --quality 0.91
    """
    options.load_plugins(plugins)
    chosen = _changed(recipe, flags)
    folder = output or Path("runs") / ("candidate" if evaluate else recipe.stem)
    if evaluate is not None:
        given = {"--ray": ray, "--trials": flags["trials"], "--sampler": flags["sampler"]}
        for name, value in given.items():
            if value is not None:
                raise HwoptError(f"{name} is of a search, not of --evaluate: leave it out")
        _evaluate(chosen, evaluate, folder, not resume, plugins, as_json)
        return
    results = _run(chosen, folder, ray, resume, plugins)
    if as_json:
        options.print_json(results.to_json())
        return
    from hwopt.report import print_table
    from hwopt.report.study_table import front_table

    for note in results.notes:
        click.echo(f"note: {note}", err=True)
    print_table(front_table(results))
    click.echo(f"report: {folder / 'report.html'}", err=True)


def _run(
    recipe: SearchRecipe,
    folder: Path,
    ray: str | None,
    resume: bool,
    plugins: tuple[Path, ...],
) -> StudyResults:
    from hwopt.cli.live_study import live_study
    from hwopt.report.study_page import write_study_report
    from hwopt.search.study import Study

    workers, fresh = None, not resume
    if ray is not None:
        from hwopt.search.workers.ray_workers import RayWorkers

        workers = RayWorkers(ray)
    with live_study() as report:
        study = Study(recipe, folder, workers=workers, plugins=plugins, report=report, fresh=fresh)
        results = study.run()
    write_study_report(results, folder)
    return results


def _changed(path: Path, flags: dict[str, Any]) -> SearchRecipe:
    """Return the recipe of a file with the values that flags set."""
    from hwopt.job.read_recipe import read_document
    from hwopt.search.recipe import make_search

    document = read_document(path)
    for key in ("target", "threads", "seed", "no_worse"):
        if flags[key] is not None:
            document[key] = flags[key]
    changes = {key: flags[key] for key in ("trials", "sampler", "workers") if flags[key]}
    part = document.get("search") or {}
    if isinstance(part, dict):
        document["search"] = {**part, **changes}
    return make_search(document, f"recipe {path}")


def _evaluate(
    recipe: SearchRecipe,
    passes: str,
    folder: Path,
    fresh: bool,
    plugins: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Train and measure one candidate, by the steps of a study."""
    from hwopt import tasks
    from hwopt.search.evaluate import evaluate

    found = evaluate(recipe, passes, folder, plugins, fresh)
    if as_json:
        options.print_json(found)
        return
    metric = tasks.find(recipe.task).metric
    click.echo(
        f"{metric.show(found['quality'])} on the validation split, "
        f"{metric.show(found['test_quality'])} on the test set, "
        f"{found['latency']['median_ms']:.3f} ms, {found['ratio']:.3f} of the network before"
    )
    click.echo(f"artefact: {folder / found['artifact']}", err=True)
