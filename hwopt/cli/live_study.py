"""What a terminal shows while a study goes on; on the error stream."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hwopt.search.results import StudyResults

Report = Callable[["StudyResults | None", str], None]


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
    view = _View()
    with Live(view, console=console, transient=True, refresh_per_second=1) as live:

        def show(study: StudyResults | None, doing: str) -> None:
            view.change(study, doing)
            live.refresh()

        yield show


class _View:
    """What is seen now: the time left goes on while nothing else changes."""

    def __init__(self) -> None:
        self._study: StudyResults | None = None
        self._doing = ""
        #: When there were how many measured trials, at first and lately.
        self._first = self._last = (0.0, 0)

    def change(self, study: StudyResults | None, doing: str) -> None:
        """Show another state of the study."""
        before, self._study, self._doing = self._study, study, doing
        if study is None:
            return
        now = (time.monotonic(), len(study.hypervolume))
        if before is None:
            self._first = self._last = now
        elif now[1] > self._last[1]:
            self._last = now

    def __rich__(self) -> RenderableType:
        from rich.console import Group

        from hwopt.report.study_table import front_table

        if self._study is None:
            return self._doing
        (began, before), (lately, _) = self._first, self._last
        left = seconds_left(self._study, lately - began, before)
        if left is not None:
            left = max(0.0, left - (time.monotonic() - lately))
        # The line comes first: where the table is higher than the terminal, its end is cut off.
        return Group(summary(self._study, self._doing, left), front_table(self._study))


def summary(study: StudyResults | None, doing: str, left: float | None) -> str:
    """Return the state of a study in a line; before its first trial, what is done alone."""
    if study is None:
        return doing
    states = [trial.state for trial in study.trials]
    wanted = study.recipe["search"]["trials"]
    measured, grown = len(study.hypervolume), study.hypervolume
    parts = [
        doing,
        f"{measured} of {wanted} measured, {states.count('failed')} failed, "
        f"{states.count('stopped')} stopped early",
    ]
    parts += [f"hypervolume {grown[-1][1]:.4f}"] if grown else []
    parts += [f"{max(1, round(left / 60))} min left"] if left is not None else []
    return "; ".join(parts)


def seconds_left(study: StudyResults, seconds: float, done_before: int) -> float | None:
    """Return how long a study still takes at its pace; None before one trial is measured.

    Args:
        study: as it was when its last trial was measured.
        seconds: from when it began, or went on, until then.
        done_before: how many trials were measured when it did.
    """
    done = len(study.hypervolume) - done_before
    if not done:
        return None
    return seconds / done * (study.recipe["search"]["trials"] - len(study.hypervolume))
