"""The table that a job ends with, for terminals and for Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Results = dict[str, Any]


def header(results: Results) -> list[str]:
    """Return the column titles: one more for every measured peer."""
    titles = ["variant", "test accuracy", "parameters", "MACs", "bytes on disk"]
    titles += ["median ms (p10–p90)", f"ratio to {results['baseline']}"]
    return titles + [f"ratio to {peer}" for peer in measured_peers(results)]


def rows(results: Results) -> Iterator[list[str]]:
    """Yield one row a variant, as text."""
    for name, facts in results["variants"].items():
        latency = facts["latency"]
        accuracy = facts["accuracy"]
        yield [
            name,
            "–" if accuracy is None else f"{100 * accuracy:.2f} %",
            f"{facts['parameters']:,}",
            f"{facts['macs'] / 1e6:.2f} M",
            f"{facts['bytes']:,}",
            f"{_typical(facts)} ({latency['p10_ms']:.3f}–{latency['p90_ms']:.3f})",
            f"{facts['ratio_to_baseline']:.2f}",
            *(
                f"{facts['peers'][peer]['ratio']:.2f}" if peer in facts["peers"] else "–"
                for peer in measured_peers(results)
            ),
        ]


def _typical(facts: dict[str, Any]) -> str:
    """Return the median, or the mean where inputs have ways to go."""
    latency = facts["latency"]
    if facts.get("has_ways"):
        return f"mean {latency['mean_ms']:.3f}"
    return f"{latency['median_ms']:.3f}"


def measured_peers(results: Results) -> list[str]:
    """Return the peers that any variant was measured beside."""
    return list({peer: None for facts in results["variants"].values() for peer in facts["peers"]})


def caption(results: Results) -> str:
    """Return what one must know to read the table."""
    target = results["target"]
    runs = next(iter(results["variants"].values()))["latency"]["runs"]
    return (
        f"{results['recipe']['model']} on {results['data']}; {target['cpu']} ({target['isa']}), "
        f"{results['threads']} threads, batch 1, {runs} runs each, alternating in one run. "
        "A ratio below 1 is faster."
    )


def print_table(table: Table) -> None:
    """Print a table: fitted to a terminal, and as wide as it needs to be anywhere else."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)


def rich_table(results: Results) -> Table:
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


def markdown_table(results: Results) -> str:
    """Return the table of a job as Markdown, with its caption below."""
    return f"{markdown(header(results), rows(results))}\n\n{caption(results)}\n"


def markdown(titles: list[str], lines: Iterable[list[str]]) -> str:
    """Return a Markdown table; all but the first column are aligned to the right.

    >>> print(markdown(["net", "ms"], [["resnet8", "0.1"]]))
    | net | ms |
    | --- | ---: |
    | resnet8 | 0.1 |
    """
    every = [titles, ["---"] + ["---:"] * (len(titles) - 1), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in every)
