"""``hwopt predict``: how long a model would take."""

from __future__ import annotations

import dataclasses

import click

from hwopt.cli import model, options


@click.command(
    "predict",
    help="Predict the latency of MODEL on a target from the table that `hwopt profile` makes; "
    f"nothing is tuned, built or measured. {model.HELP}",
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
    from hwopt import targets
    from hwopt.prediction.predictor import Predictor
    from hwopt.targets.latency_table import LatencyTable

    predictor = Predictor(LatencyTable(targets.get(target, threads=threads)))
    graph = given.graph(target)
    prediction = predictor(graph)
    if as_json:
        options.print_json(dataclasses.asdict(prediction))
    else:
        click.echo(f"{graph.name}: {prediction}")
