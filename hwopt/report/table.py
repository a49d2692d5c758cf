"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hwopt.job.table import caption, header, rows

if TYPE_CHECKING:
    from rich.table import Table

    from hwopt.job.results import JobResults


def print_table(table: Table) -> None:
    """Print a table: fitted to a terminal, and as wide as it needs to be anywhere else."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)


def rich_table(results: JobResults) -> Table:
    """Return the table of a job for a terminal."""
    return make_table(header(results), rows(results), caption(results))


def make_table(
    titles: Iterable[str], lines: Iterable[Iterable[str]], caption: str | None = None
) -> Table:
    """Return a table for a terminal; all but the first column are aligned to the right."""
    from rich.table import Table

    table = Table(caption=caption, caption_justify="left")
    for index, title in enumerate(titles):
        table.add_column(title, justify="right" if index else "left")
    for line in lines:
        table.add_row(*line)
    return table
