"""``hwopt pick``: one model of a study's front."""

from __future__ import annotations

from pathlib import Path

import click

from hwopt.cli import options
from hwopt.errors import HwoptError


@click.command("pick")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--latency", type=options.Milliseconds(), help="The best one that is no slower.")
@click.option("--quality", type=float, help="The fastest one no worse, by the task's metric.")
@click.option(
    "--no-worse", type=options.Share(), help="The fastest one no worse by more, with 95 %."
)
@click.option("--output", type=click.Path(path_type=Path), help="Copy its artefact there.")
@options.json_option
def command(
    folder: Path,
    latency: float | None,
    quality: float | None,
    no_worse: float | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Choose a model from the front of the study in FOLDER, by its latency or its quality.

    Quality is that on the validation split, by which everything was chosen: an accuracy of 0.91 is
    91 %. --no-worse compares with the network before, sample by sample.

    \b
    hwopt pick runs/search --latency 0.2ms --output fast.artifact
    hwopt pick runs/search --quality 0.91
    hwopt pick runs/search --no-worse 1%
    """
    from hwopt.search.choose import copy_artifact, pick
    from hwopt.search.results import StudyResults
    from hwopt.search.table import changes

    if [latency, quality, no_worse].count(None) != 2:
        raise HwoptError("give one of --latency, --quality and --no-worse")
    trial = pick(folder, latency_ms=latency, quality=quality, no_worse=no_worse)
    if output is not None:
        copy_artifact(folder, trial, output)
    if as_json:
        options.print_json(trial.to_json())
        return
    where = output or folder / str(trial.artifact)
    metric = StudyResults.of(folder).metric.metric
    tested = trial.test_quality
    test = f" ({metric.show(tested)} on the test set)" if tested is not None else ""
    click.echo(f"{where}: {metric.show(trial.quality)}{test}, {trial.median_ms:.3f} ms")
    click.echo(f"changes: {changes(trial)}")
    click.echo(f"again: {trial.command}")
