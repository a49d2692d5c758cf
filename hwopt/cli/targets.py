"""``hwopt targets``: list, show and check devices."""

from __future__ import annotations

import dataclasses
import sys

import click

from hwopt.cli import options


@click.group("targets")
def command() -> None:
    """List, show and check targets."""


@command.command("list")
@options.json_option
def list_targets(as_json: bool) -> None:
    """List all targets: this machine, the built-in ones and the user's."""
    from hwopt import targets

    found = [targets.get(name) for name in targets.names()]
    if as_json:
        options.print_json([dataclasses.asdict(target) for target in found])
        return
    for target in found:
        click.echo(
            f"{target.name:16} {target.isa:8} {target.threads} threads  {target.description}"
        )


@command.command("show")
@click.argument("target")
@options.json_option
def show(target: str, as_json: bool) -> None:
    """Show TARGET, a name or a .toml file, as TOML: the start of one of your own."""
    from hwopt import targets

    found = targets.get(target)
    if as_json:
        options.print_json({**dataclasses.asdict(found), "fingerprint": found.fingerprint()})
    else:
        click.echo(found.to_toml(), nl=False)


@command.command("check")
@click.argument("target")
@options.json_option
def check(target: str, as_json: bool) -> None:
    """Say whether models can be compiled, measured and run for TARGET here."""
    from hwopt import targets

    problems = targets.check(targets.get(target))
    if as_json:
        options.print_json({"problems": problems})
    elif problems:
        for problem in problems:
            click.echo(f"problem: {problem}")
    else:
        click.echo(f"{target}: models can be compiled, measured and run here")
    sys.exit(2 if problems else 0)
