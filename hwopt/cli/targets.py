"""``hwopt targets``: list, show and check devices; add one."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import click

from hwopt.cli import measure, options
from hwopt.cli.devices import tracker_option


@click.group("targets")
def command() -> None:
    """List, show and check targets; add one, and let it tell of itself."""


command.add_command(measure.command)


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
            f"{target.name:18} {target.isa:8} {target.threads} threads  {target.description}"
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
        click.echo(f"{target}: models can be compiled, measured and run")
    sys.exit(2 if problems else 0)


@command.command("add")
@click.argument("name")
@click.option("--like", required=True, help="The target or .toml file that it is most like.")
@click.option("--key", help="The key of its board at the tracker.  [default: NAME]")
@tracker_option
@click.option("--description", help="One line on it.")
@options.threads_option
@click.option("--force", is_flag=True, help="Replace the user's target of this name.")
def add(
    name: str,
    like: str,
    key: str | None,
    tracker: str,
    description: str | None,
    threads: int | None,
    force: bool,
) -> None:
    """Add the target NAME: a board that a tracker knows.

    \b
    On the board:    hwopt devices serve --tracker HOST:PORT --key NAME
    Then, here:      hwopt targets add NAME --like raspberry-pi-4
                     hwopt targets probe NAME
    """
    import re

    from hwopt import targets
    from hwopt.errors import HwoptError

    taken = (targets.HOST, *targets.builtin_names())
    if not re.fullmatch(r"[\w.-]+", name) or name.endswith(".toml") or name in taken:
        raise HwoptError(f"{name!r} is no name for a target of yours: take letters and digits")
    path = targets.user_file(name)
    if path.exists() and not force:
        raise HwoptError(f"{path} is there: give --force to replace it")
    most_like = targets.get(like, threads=threads)
    if most_like.is_gpu:
        raise HwoptError(f"{like} is a GPU: it is used where it is found, and is no board")
    if most_like.tvm["kind"] == "c":
        raise HwoptError(f"{like} takes C, and no artefacts: see `hwopt export --c`")
    found = dataclasses.replace(
        most_like,
        name=name,
        runner="rpc",
        key=key or name,
        tracker=tracker,
    )
    if description is not None:
        found = dataclasses.replace(found, description=description)
    targets.save(found)
    click.echo(f"{path}: {name}, as {like}; see `hwopt targets probe {name}`")


@command.command("probe")
@click.argument("target")
@options.json_option
def probe(target: str, as_json: bool) -> None:
    """Ask the device of TARGET for its cores, caches and memory.

    A target of the user's is changed to what the device says.
    """
    from hwopt import targets
    from hwopt.targets.probe import probe

    before = targets.get(target)
    after = probe(before)
    changes = {
        key: [value, dataclasses.asdict(after)[key]]
        for key, value in dataclasses.asdict(before).items()
        if dataclasses.asdict(after)[key] != value
    }
    path = Path(target) if target.endswith(".toml") else targets.user_file(target)
    kept = path.exists()
    if kept:
        targets.save(after, path)
    if as_json:
        options.print_json({"target": dataclasses.asdict(after), "changes": changes})
        return
    for key, (old, new) in changes.items():
        click.echo(f"{key}: {old} is {new}")
    if not changes:
        click.echo(f"{target}: the device says what the target says")
    elif not kept:
        click.echo(f"{target} is built in and stays: `hwopt targets add` makes one of your own")
