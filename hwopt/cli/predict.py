"""``hwopt predict``: how long a model would take."""

from __future__ import annotations

import dataclasses

import click

from hwopt.cli import model, options


@click.command(
    "predict",
    help="Predict the latency of MODEL on a target from the table that `hwopt targets measure` "
    f"makes; nothing is tuned, built or measured. {model.HELP}",
)
@model.given_model
@options.target_option
@options.threads_option
@options.json_option
def command(
    given: model.Given,
    target: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Predict a latency; the help text stands above."""
    import hwopt

    graph = given.graph(target)
    prediction = hwopt.predict(graph, target, threads=threads)
    if as_json:
        options.print_json(dataclasses.asdict(prediction))
    else:
        click.echo(f"{graph.name}: {prediction}")
