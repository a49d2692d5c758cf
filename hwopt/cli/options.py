"""Options and arguments that several commands share, and how they print."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, ClassVar

import click

from hwopt import plugins

#: What torch, numpy and TVM all take.
SEED = click.IntRange(0, 2**31 - 1)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
seed_option = click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Of weights, data and searches."
)
target_option = click.option(
    "--target", default="host", show_default=True, help="A target's name or .toml file."
)
where_option = click.option(
    "--target", help="What it runs on.  [default: this machine, or the board of its own target]"
)
threads_option = click.option(
    "--threads", type=click.IntRange(1), help="Threads of kernels.  [default: the target's]"
)
kernel_trials_option = click.option(
    "--kernel-trials",
    type=click.IntRange(0),
    help="Most candidates measured for one kernel; 0 measures none.  [default: the tuner's]",
)
plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A Python file that defines passes; may be repeated.",
)


class Installed(click.ParamType):
    """A name of a group of entry points, which are looked up when they are needed.

    Args:
        group: of ``hwopt.plugins``.
    """

    name = "NAME"

    def __init__(self, group: str) -> None:
        self._group = group

    def get_metavar(self, *_: Any, **__: Any) -> str:
        """Return all names, for the help."""
        return f"[{'|'.join(plugins.names(self._group))}]"

    def convert(self, value: Any, *_: Any) -> str:
        """Return the name.

        Raises:
            HwoptError: if there is none such.
        """
        plugins.where(self._group, value)
        return str(value)


class Share(click.ParamType):
    """A share such as 1% or 0.01."""

    name = "SHARE"

    def convert(self, value: Any, *_: Any) -> float:
        """Return it as a number."""
        from hwopt.tasks import share

        try:
            return share(value)
        except ValueError as error:
            self.fail(str(error))


class Milliseconds(click.ParamType):
    """A time such as 0.2, 0.2ms or 200us."""

    name = "MS"

    def convert(self, value: object, param: object, ctx: object) -> float:
        """Return milliseconds."""
        text = str(value).strip()
        number, factor = text.removesuffix("ms"), 1.0
        if text.endswith("us"):
            number, factor = text.removesuffix("us"), 1e-3
        try:
            milliseconds = float(number) * factor
        except ValueError:
            milliseconds = math.nan
        if not 0 < milliseconds < math.inf:
            self.fail(f"{value!r} is no time: write it as 0.2ms or 200us")
        return milliseconds


class Bytes(click.ParamType):
    """A size such as 64KB, 1.5MB or 2000."""

    name = "SIZE"
    _UNITS: ClassVar[dict[str, int]] = {"KB": 2**10, "MB": 2**20, "GB": 2**30, "B": 1}

    def convert(self, value: object, param: object, ctx: object) -> int:
        """Return bytes."""
        number, factor = str(value).strip().upper(), 1
        for unit, of in self._UNITS.items():
            if number.endswith(unit):
                number, factor = number.removesuffix(unit), of
                break
        try:
            size = int(float(number) * factor)
        except (ValueError, OverflowError):
            size = 0
        if size < 1:
            self.fail(f"{value!r} is no size: write it as 64KB (of 1,024 bytes) or 1MB")
        return size


no_worse_option = click.option(
    "--no-worse", type=Share(), help="How much worse the best may be, with 95 %: 1% or 0.01."
)


def load_plugins(files: tuple[Path, ...]) -> None:
    """Register the passes of the files given with ``--plugin``."""
    from hwopt import passes

    for file in files:
        passes.load_file(file)


def print_json(value: Any) -> None:
    """Print a value as JSON on the standard output."""
    click.echo(json.dumps(value, indent=2))
