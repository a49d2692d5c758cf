"""The front of a study as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hwopt.report.study_texts import accuracy, changes, millions, ratio

if TYPE_CHECKING:
    from rich.table import Table


def front_table(study: dict[str, Any]) -> Table:
    """Return the front, the fastest first, and the network before."""
    from rich.table import Table

    table = Table(title=f"{study['name']}: the front of {len(study['hypervolume'])} candidates")
    for title in ("trial", "accuracy", "test", "median ms", "of before", "MACs", "changes"):
        table.add_column(title, justify="left" if title == "changes" else "right")
    for number in study["front"]:
        table.add_row(str(number), *_cells(study["trials"][number]))
    table.add_row("before", *_cells({**study["baseline"], "ratio": 1.0, "passes": ""}))
    return table


def _cells(facts: dict[str, Any]) -> list[str]:
    from rich.markup import escape

    tested, share = facts.get("test_accuracy"), facts.get("ratio")
    return [
        accuracy(facts["accuracy"]),
        "" if tested is None else accuracy(tested),
        f"{facts['latency']['median_ms']:.3f}",
        "–" if share is None else ratio(share),
        millions(facts["macs"]),
        escape(changes(facts)),
    ]
