"""What a terminal shows while a study goes on; on the error stream."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

Report = Callable[[dict[str, Any] | None, str], None]


@contextlib.contextmanager
def live_study() -> Iterator[Report]:
    """Yield a callback for a study: the front so far, counts, time left, what is done now.

    Where the error stream is no terminal, a line is written for every change instead.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda study, doing: click.echo(summary(study, doing, None), err=True)
        return
    with Live(console=console, transient=True, auto_refresh=False) as live:
        began: list[tuple[float, int]] = []  # when trials did, and how many were there already

        def show(study: dict[str, Any] | None, doing: str) -> None:
            if study is None:
                live.update(doing, refresh=True)
                return
            began.append((time.monotonic(), len(study["hypervolume"])))
            left = seconds_left(study, time.monotonic() - began[0][0], began[0][1])
            live.update(_rendered(study, summary(study, doing, left)), refresh=True)

        yield show


def summary(study: dict[str, Any] | None, doing: str, left: float | None) -> str:
    """Return the state of a study in a line; before its first trial, what is done alone.

    >>> study = {"trials": [{"state": "failed"}], "hypervolume": [[1, 0.25]],
    ...     "search": {"trials": 8}}
    >>> summary(study, "measuring 2", 90)
    'measuring 2; 1 of 8 measured, 1 failed, 0 stopped early; hypervolume 0.2500; 2 min left'
    """
    if study is None:
        return doing
    states = [trial["state"] for trial in study["trials"]]
    measured, grown = len(study["hypervolume"]), study["hypervolume"]
    parts = [
        doing,
        f"{measured} of {study['search']['trials']} measured, {states.count('failed')} failed, "
        f"{states.count('pruned')} stopped early",
    ]
    parts += [f"hypervolume {grown[-1][1]:.4f}"] if grown else []
    parts += [f"{max(1, round(left / 60))} min left"] if left is not None else []
    return "; ".join(parts)


def seconds_left(study: dict[str, Any], seconds: float, done_before: int) -> float | None:
    """Return how long a study still takes at its pace; None before one trial is measured.

    >>> seconds_left({"hypervolume": [[1, 0.1], [2, 0.2]], "search": {"trials": 6}}, 60.0, 0)
    120.0
    """
    done = len(study["hypervolume"]) - done_before
    if not done:
        return None
    return seconds / done * (study["search"]["trials"] - len(study["hypervolume"]))


def _rendered(study: dict[str, Any], line: str) -> RenderableType:
    from rich.console import Group

    from hwopt.report.study_table import front_table

    return Group(front_table(study), line)
