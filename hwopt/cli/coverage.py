"""``hwopt coverage``: what of a model hwopt can prune, train and compile."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwopt.cli import model, options

if TYPE_CHECKING:
    from hwopt.compiler.coverage import OperatorCoverage

#: Of what is not covered, on the screen.
_LONGEST_REASON = 100


@click.command(
    "coverage",
    help="Say of every operator of MODEL whether it can be pruned, trained and compiled, and how "
    f"its kernels are made; nothing is tuned or built. {model.HELP}\n\n"
    "In the last column stand the templates that make kernels (register-tile, winograd and "
    "depthwise-separable for products, loops for the rest, written for recurrent cells), or "
    "search: MetaSchedule, a default without --kernel-trials.",
)
@click.argument("name", metavar="MODEL")
@model.making_options
@options.target_option
@options.json_option
def command(name: str, making: model.Making, target: str, as_json: bool) -> None:
    """Print the table; the help text stands above."""
    from hwopt import targets

    unknown = _unknown_operators(Path(name))
    if unknown:
        if as_json:
            options.print_json({"imported": False, "unknown": unknown})
            return
        click.echo(f"{name} is not imported: of its operators these are not known")
        for op, count in unknown.items():
            click.echo(f"  {op}: {count}")
        return
    from hwopt.compiler.coverage import coverage

    graph = making.graph(name)
    rows = coverage(graph, targets.get(target))
    if as_json:
        found = {"imported": True, "operators": [dataclasses.asdict(row) for row in rows]}
        options.print_json(found)
        return
    for line in _table(rows):
        click.echo(line)


def _unknown_operators(path: Path) -> dict[str, int]:
    """Return the operators of an ONNX file that hwopt has not, with how often they are called."""
    if path.suffix != ".onnx" or not path.is_file():
        return {}
    from hwopt.graph.onnx import unknown_operators

    return unknown_operators(path)


def _table(rows: list[OperatorCoverage]) -> list[str]:
    total = max(1, sum(row.macs for row in rows))
    head = ["operator", "nodes", "MACs", "prunes", "trains", "compiles", "kernels"]
    cells = [head]
    for row in rows:
        roads = ", ".join(
            road if count == row.nodes else f"{road} {count}" for road, count in row.roads.items()
        )
        cells.append(
            [
                row.op,
                str(row.nodes),
                f"{row.macs / total:.1%}" if row.macs else "",
                *(_share(row.nodes, row.nodes - gone) for gone in (row.stops, row.untrained)),
                _share(row.nodes, row.nodes - row.refused),
                roads or ("" if row.refused else "folded"),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    notes = [f"{row.op}: {reason[:_LONGEST_REASON]}" for row in rows for reason in row.reasons]
    covered = sum(row.nodes - row.refused for row in rows)
    nodes = sum(row.nodes for row in rows)
    return [*lines, "", *notes, f"{covered} of {nodes} nodes can be compiled."]


def _share(total: int, good: int) -> str:
    return "yes" if good == total else ("no" if not good else f"{good} of {total}")
