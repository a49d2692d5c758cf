"""``hwopt passes``: list them, show their options, apply them."""

from __future__ import annotations

import inspect
from pathlib import Path

import click

from hwopt.cli import model, options
from hwopt.errors import HwoptError


@click.group("passes")
def command() -> None:
    """List, show and apply passes."""


@command.command("list")
@options.plugin_option
@options.json_option
def list_passes(plugins: tuple[Path, ...], as_json: bool) -> None:
    """List all passes with the package that offers them."""
    options.load_plugins(plugins)
    from hwopt.passes import registry

    sources = {name: registry.source(name) for name in registry.names()}
    if as_json:
        options.print_json(sources)
        return
    longest = max(map(len, sources))
    for name, source in sources.items():
        summary = (inspect.getdoc(registry.load(name)) or "").splitlines()[0]
        click.echo(f"{name:{longest}} {summary} [{source}]")


@command.command("show")
@click.argument("name")
@options.plugin_option
@options.json_option
def show(name: str, plugins: tuple[Path, ...], as_json: bool) -> None:
    """Show the options of the pass NAME, their defaults, and what it does."""
    options.load_plugins(plugins)
    from hwopt.option_text import format_value
    from hwopt.passes import registry

    instance = registry.load(name)()
    if as_json:
        options.print_json({"name": name, "options": instance.options()})
        return
    click.echo(inspect.getdoc(registry.load(name)))
    click.echo("\nDefaults:")
    for option, value in instance.options().items():
        click.echo(f"  {option}={value if isinstance(value, str) else format_value(value)}")


@command.command("apply", help=f"Apply PASSES to MODEL. {model.HELP}")
@click.argument("name", metavar="MODEL")
@click.argument("passes")
@model.making_options
@model.samples_options
@click.option("--target", default="host", show_default=True, help="Whose vector length counts.")
@click.option("--output", type=click.Path(path_type=Path), help="Save the graph in this folder.")
@options.plugin_option
@options.json_option
def apply_passes(
    name: str,
    passes: str,
    making: model.Making,
    samples: model.Samples,
    target: str,
    output: Path | None,
    plugins: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Apply passes to a model; the help text stands above."""
    options.load_plugins(plugins)
    import hwopt

    if output is not None and output.is_file():
        raise HwoptError(f"{output} is a file: give a folder")
    graph = making.graph(name)
    context = making.context(graph, samples, target)
    result = hwopt.apply(graph, passes, context)
    if output is not None:
        result.save(output)
    if as_json:
        options.print_json(
            {
                "notes": context.remarks(),
                "macs": [graph.macs(), result.macs()],
                "parameters": [graph.num_parameters(), result.num_parameters()],
            }
        )
        return
    for applied, note in context.notes:
        click.echo(f"{applied}: {note}", err=True)
    click.echo(result.to_text(), nl=False)
    click.echo(
        f"MACs {graph.macs():,} to {result.macs():,}, "
        f"parameters {graph.num_parameters():,} to {result.num_parameters():,}",
        err=True,
    )
