"""``hwopt optimize``: the main job."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwopt.cli import model, options, progress
from hwopt.errors import HwoptError

if TYPE_CHECKING:
    from hwopt.job import JobResults, Recipe

#: Flags that are keys of a recipe.
_PLAIN = (
    "model",
    "data",
    "task",
    "no_worse",
    "weights",
    "input_shape",
    "target",
    "threads",
    "kernel_trials",
    "seed",
)

#: Keys of a recipe's limits, by which flags set them.
_LIMITS = {"ms": "budget", "memory_bytes": "memory", "bytes": "size"}


@click.command("optimize")
@click.argument("recipe", required=False, type=click.Path(path_type=Path))
@click.option("--model", help="Instead of a recipe: the model. See hwopt compile --help.")
@click.option("--data", help="Instead of a recipe: a data set, a folder of images or a callable.")
@click.option("--task", help="What the model is for.  [default: classification]")
@options.no_worse_option
@model.model_options
@click.option("--budget", type=options.Milliseconds(), help="Most latency of the best: 2ms.")
@click.option("--memory", type=options.Bytes(), help="Most memory of its values: 64KB.")
@click.option("--size", type=options.Bytes(), help="Most bytes of its weights and code: 1MB.")
@click.option("--passes", multiple=True, metavar="NAME:PASSES", help="A variant; may be repeated.")
@click.option("--epochs", type=click.IntRange(0), help="Train first; 0 takes the weights as given.")
@click.option("--fine-tune-epochs", type=click.IntRange(0), help="After passes that need it.")
@click.option("--target", help="A target's name or .toml file.  [default: host]")
@options.threads_option
@options.kernel_trials_option
@click.option("--seed", type=options.SEED, help="Of weights, training and tuning.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder.  [default: runs/NAME of the recipe]"
)
@click.option("--resume/--fresh", default=True, help="Go on where a job stopped, or start anew.")
@click.option(
    "--dry-run", is_flag=True, help="Print the recipe, with what was left out; compute nothing."
)
@options.plugin_option
@options.json_option
def command(
    recipe: Path | None,
    output: Path | None,
    resume: bool,
    dry_run: bool,
    plugins: tuple[Path, ...],
    as_json: bool,
    **flags: Any,
) -> None:
    """Train, compress, compile and measure a model: RECIPE is a YAML, TOML or JSON file.

    Flags stand for a recipe, or change single values of one. Every step is recorded: the same
    command run again goes on where it stopped. Ends with one table, and a report beside it.

    With a limit and without passes a recipe is made that keeps it: see what was made with
    --dry-run, which measures the model as it is.

    \b
    hwopt optimize --model net.onnx --data photos --budget 2ms --size 1MB --no-worse 1%
    hwopt optimize recipes/demo.yaml
    hwopt optimize --model resnet8 --data fashion-mnist --epochs 8 \\
        --passes dense: --passes half:prune-channels{ratio=0.3}
    """
    options.load_plugins(plugins)
    name = recipe.stem if recipe else _folder_name(flags["model"] or "")
    folder = output or Path("runs") / name
    chosen = _recipe(recipe, flags)
    if recipe is None and chosen.limits.asks and not flags["passes"]:
        chosen = _within(_from_flags(flags), folder, fresh=not resume)
        resume = True  # what was left is gone, and what was measured since is not
    if dry_run:
        click.echo(f"into {folder}:", err=True)
        options.print_json(chosen.model_dump(mode="json"))
        return
    results = _run(chosen, folder, resume)
    if as_json:
        options.print_json(results.to_json())
    else:
        _print(results, folder)


def _run(recipe: Recipe, folder: Path, resume: bool) -> JobResults:
    from hwopt.job import Job
    from hwopt.report import write_report

    with progress.tuning_progress() as tuning:
        job = Job(recipe, folder, report=progress.report_step, tuning=tuning)
        results = job.run(fresh=not resume)
    write_report(results, folder)
    return results


def _within(document: dict[str, Any], folder: Path, fresh: bool) -> Recipe:
    """Return a recipe that is made to keep the limits of flags, and print it."""
    from hwopt.job import recipe_text, recipe_within

    with progress.tuning_progress() as tuning:
        made = recipe_within(document, folder, tuning, fresh=fresh)
    click.echo(f"The recipe, which can be run again or changed:\n\n{recipe_text(made)}", err=True)
    return made


def _recipe(path: Path | None, flags: dict[str, Any]) -> Recipe:
    from hwopt.job import changed_recipe, load_recipe, make_recipe

    changes = _from_flags(flags)
    if path is not None:
        recipe = load_recipe(path)
        for key in ("train", "fine_tune", "limits"):
            if changes.get(key) and getattr(recipe, key):
                written = getattr(recipe, key).model_dump(mode="json")
                changes[key] = {**written, **changes[key]}
        return changed_recipe(recipe, **changes)
    for key in ("model", "data"):
        if key not in changes:
            raise HwoptError(f"give a recipe, or at least --model and --data: --{key} is missing")
    return make_recipe(changes, "the flags")


def _from_flags(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe's keys that flags set."""
    document = {key: flags[key] for key in _PLAIN if flags[key] is not None}
    if "weights" in document:
        document["weights"] = str(document["weights"])
    if flags["model_options"]:
        document["model_options"] = model.parse_options(flags["model_options"])
    for key, flag in (("train", "epochs"), ("fine_tune", "fine_tune_epochs")):
        if flags[flag] is not None:
            document[key] = {"epochs": flags[flag]} if flags[flag] else None
    limits = {key: flags[flag] for key, flag in _LIMITS.items() if flags[flag] is not None}
    if limits:
        document["limits"] = limits
    if flags["passes"]:
        document["variants"] = _variants(flags["passes"])
    return document


def _variants(texts: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, separator, passes = text.partition(":")
        if not separator:
            raise HwoptError(f"--passes {text!r} must be NAME:PASSES, such as half:prune-channels")
        if name in found:
            raise HwoptError(f"--passes names {name!r} twice: give each variant a name of its own")
        found[name] = passes
    return found


def _folder_name(model: str) -> str:
    is_file = Path(model).exists() or model.endswith((".pt2", ".onnx"))
    return Path(model).stem if is_file else model.replace(":", "-")


def _print(results: JobResults, folder: Path) -> None:
    from hwopt.job.table import verdict
    from hwopt.report import print_table, rich_table

    for note in results.notes:
        click.echo(f"note: {note}", err=True)
    print_table(rich_table(results))
    click.echo(verdict(results))
    click.echo(f"report: {folder / 'report.html'}; artefacts: {folder / 'artifacts'}", err=True)
