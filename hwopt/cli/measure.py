"""``hwopt targets measure``: the latency table of a device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwopt.cli import model, options, progress

if TYPE_CHECKING:
    from hwopt.targets import Target

#: Measured if no model is named: regular, depthwise-separable and pointwise convolutions.
ZOO = ("resnet8", "ds_cnn", "mobilenet_v1_025")


@click.command(
    "measure",
    help=f"""Measure the latency table of a target, from which `hwopt predict` and searches know
    how long a network takes before they build it.

    MODELS, and narrower ones in which neighbouring layers have all pairs of widths of a grid, are
    tuned and measured, kernels and wholes; without MODELS those are {", ".join(ZOO)}. It can take
    hours: a run that was stopped goes on when it is started again, and what searches
    and passes measure later counts, too. {model.HELP}

    \b
    hwopt targets measure my_package.nets:make --input-shape 3x64x64 --output my-machine.json
    hwopt targets measure --merge my-machine.json""",
)
@click.argument("models", nargs=-1)
@model.making_options
@options.target_option
@options.threads_option
@options.kernel_trials_option
@click.option("--levels", type=int, help="Widths of a layer; a prime number.  [default: 5]")
@click.option("--merge", type=click.Path(path_type=Path), help="Take over a table of others.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the table to a file, too.")
@options.json_option
def command(
    models: tuple[str, ...],
    making: model.Making,
    target: str,
    threads: int | None,
    kernel_trials: int | None,
    levels: int | None,
    merge: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Make or merge a table; the help text stands above."""
    from hwopt import targets
    from hwopt.prediction.measure_table import LEVELS, measure_table
    from hwopt.targets.latency_table import LatencyTable

    chosen = targets.get(target, threads=threads)
    if merge is not None:
        for doubt in LatencyTable(chosen).merge(merge):
            click.echo(f"note: {merge}: {doubt}", err=True)
    for name in models or (() if merge else ZOO):
        graph = making.graph(name)

        def report(done: int, total: int, name: str = name) -> None:
            click.echo(f"{name}: {done} of {total} networks", err=True)

        with progress.tuning_progress() as tuning:
            measure_table(
                graph,
                chosen,
                levels=LEVELS if levels is None else levels,
                kernel_trials=kernel_trials,
                seed=making.seed,
                tuning=tuning,
                report=report,
            )
    _finish(chosen, output, as_json)


def _finish(target: Target, output: Path | None, as_json: bool) -> None:
    from hwopt.targets.latency_table import LatencyTable

    table = LatencyTable(target)
    if output is not None:
        table.save(output)
    facts = {"kernels": len(table.kernels), "networks": len(table.networks)}
    if as_json:
        options.print_json({"target": target.name, "threads": target.threads, **facts})
        return
    place = f", written to {output}" if output else ""
    click.echo(
        f"{target.name}, {target.threads} threads: {facts['kernels']} kernels and "
        f"{facts['networks']} networks{place}"
    )
