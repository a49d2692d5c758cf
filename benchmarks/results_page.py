"""Writes ``docs/results.md`` from the lines in ``results``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from benchmarks.experiment import Experiment, experiments

PAGE = Path(__file__).parents[1] / "docs" / "results.md"


def write(_: Namespace) -> None:
    """Write the page; experiments without a line are named at its end."""
    parts = [
        "# Results\n\nWritten by `python -m benchmarks results_page` from `benchmarks/results`."
    ]
    missing = []
    for one in experiments().values():
        if one.section is None:
            continue
        runs = one.records.read()
        if runs:
            parts += one.section(runs)
        else:
            missing.append(f"`python -m benchmarks {one.name}`")
    if missing:
        parts.append(f"## Not measured yet\n\n{', '.join(missing)}.")
    PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


EXPERIMENTS = (
    Experiment(
        name="results_page",
        about="write docs/results.md from all lines",
        chapter="the main job",
        main=write,
    ),
)
