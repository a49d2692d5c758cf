"""``hwopt export``: a model becomes C."""

from __future__ import annotations

from pathlib import Path

import click

from hwopt.cli import options


@click.command("export", help=f"Write MODEL as C99, for microcontrollers. {options.MODEL_HELP}")
@click.argument("model")
@options.model_options
@click.option("--c", "as_c", is_flag=True, required=True, help="C99; the only form there is.")
@click.option("--passes", default="", help="Passes to apply first, such as fold-batch-norm.")
@options.data_option
@click.option("--target", default="cortex-m4", show_default=True, help="A target or its file.")
@click.option("--name", default="model", show_default=True, help="The function is NAME_run.")
@options.seed_option
@click.option("--output", type=click.Path(path_type=Path), help="Folder.  [default: MODEL.c99]")
@options.plugin_option
@options.json_option
def command(
    model: str,
    input_shape: tuple[int, ...] | None,
    classes: int | None,
    model_options: tuple[str, ...],
    as_c: bool,
    passes: str,
    data: str | None,
    target: str,
    name: str,
    seed: int,
    output: Path | None,
    plugins: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Write a model as C; the help text stands above."""
    options.load_plugins(plugins)
    from hwopt.compiler.export_c import export_c

    graph = options.load_model(model, input_shape, classes, model_options, seed)
    graph = options.passed_graph(graph, passes, data, target, seed)
    folder = output or Path(f"{graph.name}.c99")
    facts = export_c(graph, output=folder, target=target, name=name)
    if as_json:
        options.print_json({"path": str(folder), **facts})
        return
    click.echo(
        f"{folder}: {facts['function']}; {facts['ram_bytes']:,} bytes of memory for values, of "
        f"which {facts['activation_bytes']:,} are needed at least; {facts['weight_bytes']:,} bytes "
        f"of weights in flash and about {facts['code_bytes']:,} of code"
    )
    click.echo(f"{facts['parameters']:,} parameters, {facts['macs'] / 1e6:.2f} M MACs")
