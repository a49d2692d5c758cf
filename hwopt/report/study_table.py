"""The front of a study as a table for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwopt.search.table import rows, titles

if TYPE_CHECKING:
    from rich.table import Table

    from hwopt.search.results import StudyResults


def front_table(study: StudyResults) -> Table:
    """Return the front, the fastest first, and the baseline."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{study.name}: the front of {len(study.hypervolume)} candidates")
    for title in titles(study):
        table.add_column(title, justify="left" if title == "changes" else "right")
    for row in rows(study):
        table.add_row(*map(escape, row))
    return table
