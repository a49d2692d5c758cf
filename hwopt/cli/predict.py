"""``hwopt predict``: how long a model would take."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from hwopt.cli import options


@click.command(
    "predict",
    help="Predict the latency of MODEL on a target from the table that `hwopt profile` makes; "
    f"nothing is tuned, built or measured. {options.MODEL_HELP}",
)
@click.argument("model")
@options.model_options
@click.option("--passes", default="", help="Passes to apply first, such as prune-channels.")
@options.data_option
@options.target_option
@options.threads_option
@options.seed_option
@options.plugin_option
@options.json_option
def command(
    model: str,
    input_shape: tuple[int, ...] | None,
    classes: int | None,
    model_options: tuple[str, ...],
    passes: str,
    data: str | None,
    target: str,
    threads: int | None,
    seed: int,
    plugins: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Predict a latency; the help text stands above."""
    options.load_plugins(plugins)
    from hwopt import targets
    from hwopt.search.predictor import Predictor
    from hwopt.targets.latency_table import LatencyTable

    predictor = Predictor(LatencyTable(targets.get(target, threads=threads)))
    graph = options.load_model(model, input_shape, classes, model_options, seed)
    graph = options.passed_graph(graph, passes, data, target, seed)
    prediction = predictor(graph)
    if as_json:
        options.print_json(dataclasses.asdict(prediction))
    else:
        click.echo(f"{graph.name}: {prediction}")
