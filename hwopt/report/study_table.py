"""The front of a study as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def front_table(study: dict[str, Any]) -> Table:
    """Return the front, the fastest first, and the network before."""
    from rich.table import Table

    table = Table(title=f"{study['name']}: the front of {len(study['hypervolume'])} candidates")
    for title in ("trial", "accuracy", "test", "median ms", "of before", "MACs", "passes"):
        table.add_column(title, justify="left" if title == "passes" else "right")
    for number in study["front"]:
        table.add_row(str(number), *_cells(study["trials"][number]))
    table.add_row("before", *_cells({**study["baseline"], "ratio": 1.0, "passes": ""}))
    return table


def _cells(facts: dict[str, Any]) -> list[str]:
    from rich.markup import escape

    tested = facts.get("test_accuracy")
    return [
        f"{100 * facts['accuracy']:.2f} %",
        "" if tested is None else f"{100 * tested:.2f} %",
        f"{facts['latency']['median_ms']:.3f}",
        f"{facts['ratio']:.2f}",
        f"{facts['macs'] / 1e6:.2f} M",
        escape(facts["passes"]),
    ]
