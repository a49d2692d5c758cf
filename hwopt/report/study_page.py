"""The report of a study: one HTML file that needs no other, and its two pictures as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt.report import study_plots, study_texts, study_view
from hwopt.report.page import PAGE_FILE, recipe_as_yaml, source, write_page, write_plot
from hwopt.search.recipe import make_search
from hwopt.search.table import changes

if TYPE_CHECKING:
    from hwopt.search.results import Contribution, StudyResults

FRONT_FILE = "front.png"
HYPERVOLUME_FILE = "hypervolume.png"


def write_study_report(study: StudyResults, folder: Path) -> Path:
    """Write ``report.html`` and the pictures into a folder; return the path of the page.

    The page shows all without a network, and the front as a picture and a table without
    JavaScript. It can be written while the study still runs.

    Args:
        study: as it is known.
        folder: where to write; made if it is missing.
    """
    image = write_plot(study_plots.front_plot(study), folder / FRONT_FILE)
    write_plot(study_plots.hypervolume_plot(study), folder / HYPERVOLUME_FILE)
    return write_page(
        folder / PAGE_FILE,
        "study.html",
        study=study,
        texts=study_texts,
        metric=study.metric.metric,
        changes=changes,
        style=source("page.css"),
        scripts=[source("charts.js"), source("study.js")],
        data=study_view.drawn(study),
        tested=any(trial.test_quality is not None for trial in study.front),
        summary=study_view.summary(study),
        front=study.front,
        failures=[trial for trial in study.trials if trial.state == "failed"],
        others=len(study.measured) - len(study.front),
        peers=study_view.peers(study),
        bars=_bars(study.contributions),
        image=image,
        recipe=recipe_as_yaml(study.recipe, make_search),
    )


def _bars(contributions: Sequence[Contribution]) -> list[dict[str, Any]]:
    """Return the contributions with bars from the middle of a cell: start and width in per cent."""
    changes = {
        "latency_bar": [
            None if entry.latency_ratio is None else entry.latency_ratio - 1
            for entry in contributions
        ],
        "gain_bar": [entry.gain for entry in contributions],
    }
    rows = [entry.to_json() for entry in contributions]
    for name, values in changes.items():
        largest = max((abs(value) for value in values if value is not None), default=0) or 1
        for row, value in zip(rows, values, strict=True):
            row[name] = _bar((value or 0) / largest)
    return rows


def _bar(share: float) -> dict[str, Any]:
    width = 50 * abs(share)
    return {"start": 50 - width if share < 0 else 50, "width": width, "less": share < 0}
