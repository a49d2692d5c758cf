"""The front of a study as titles and lines of text, and as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwopt.job.table import markdown

if TYPE_CHECKING:
    from hwopt.search.results import Baseline, StudyResults, Trial

TITLES = ["trial", "accuracy", "test", "median ms", "of baseline", "MACs", "changes"]


def changes(trial: Trial) -> str:
    """Return what was done to the network, as text."""
    parts = {"model ": trial.model, "": trial.passes, "route ": trial.route}
    return "; ".join(f"{kind}{text}" for kind, text in parts.items() if text) or "nothing"


def rows(study: StudyResults) -> list[list[str]]:
    """Return the front, the fastest first, and the baseline."""
    front = [
        [str(trial.number), *_cells(trial, trial.ratio, changes(trial))] for trial in study.front
    ]
    return [*front, ["baseline", *_cells(study.baseline, 1.0, "nothing")]]


def markdown_front(study: StudyResults) -> str:
    """Return the front as a Markdown table."""
    return f"{markdown(TITLES, rows(study))}\n"


def _cells(facts: Trial | Baseline, ratio: float | None, changed: str) -> list[str]:
    assert facts.latency is not None
    return [
        "–" if facts.accuracy is None else f"{100 * facts.accuracy:.2f} %",
        "–" if facts.test_accuracy is None else f"{100 * facts.test_accuracy:.2f} %",
        f"{facts.latency.median_ms:.3f}",
        "–" if ratio is None else f"{ratio:.2f}",
        "–" if facts.macs is None else f"{facts.macs / 1e6:.2f} M",
        changed,
    ]
