"""``hwopt export``: a model becomes C."""

from __future__ import annotations

from pathlib import Path

import click

from hwopt.cli import model, options


@click.command("export", help=f"Write MODEL as C99, for microcontrollers. {model.HELP}")
@model.given_model
@click.option("--c", "as_c", is_flag=True, required=True, help="C99; the only form there is.")
@click.option("--target", default="cortex-m4", show_default=True, help="A target or its file.")
@click.option("--name", default="model", show_default=True, help="The function is NAME_run.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder.  [default: MODEL.c99]")
@options.json_option
def command(
    given: model.Given,
    as_c: bool,
    target: str,
    name: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Write a model as C; the help text stands above."""
    from hwopt.compiler.export_c import export_c

    graph = given.graph(target)
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
