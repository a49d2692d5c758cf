"""``hwopt``: the command line. Commands are imported when they are called."""

from __future__ import annotations

import importlib
import logging
import sys

import click

from hwopt.errors import HwoptError
from hwopt.version import __version__

_COMMANDS = {
    "bench": "hwopt.cli.bench",
    "compile": "hwopt.cli.compile",
    "coverage": "hwopt.cli.coverage",
    "devices": "hwopt.cli.devices",
    "doctor": "hwopt.cli.doctor",
    "export": "hwopt.cli.export",
    "optimize": "hwopt.cli.optimize",
    "passes": "hwopt.cli.passes",
    "predict": "hwopt.cli.predict",
    "report": "hwopt.cli.report",
    "pick": "hwopt.cli.pick",
    "run": "hwopt.cli.run",
    "search": "hwopt.cli.search",
    "targets": "hwopt.cli.targets",
}


class _LazyGroup(click.Group):
    """Imports the module of a command when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(_COMMANDS[cmd_name]).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            from hwopt.errors import unknown_name

            raise unknown_name("command", args[0], _COMMANDS)
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hwopt")
@click.option("-v", "--verbose", is_flag=True, help="Show what passes and the compiler note.")
def cli(verbose: bool) -> None:
    """Compress, compile and measure PyTorch models for a device."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(name)s: %(message)s"
    )


def main() -> None:
    """Run the command line; what the user can mend is one sentence and exit code 2."""
    try:
        cli.main(standalone_mode=False)
    except HwoptError as error:
        _fail(str(error), 2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _fail("interrupted; run the same command again to go on", 130)
    except BrokenPipeError:
        sys.exit(141)  # the reader of a pipe went away: as a shell reports it


def _fail(message: str, code: int) -> None:
    click.echo(f"Error: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
