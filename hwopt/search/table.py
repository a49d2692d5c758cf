"""The front of a study as titles and lines of text, and as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwopt.job.table import markdown

if TYPE_CHECKING:
    from hwopt.search.results import Baseline, StudyResults, Trial


def titles(study: StudyResults) -> list[str]:
    """Return the titles of the columns."""
    return ["trial", study.metric.name, "test", "median ms", "of baseline", "MACs", "changes"]


def changes(trial: Trial) -> str:
    """Return what was done to the network, as text."""
    parts = {"model ": trial.model, "": trial.passes, "route ": trial.route}
    return "; ".join(f"{kind}{text}" for kind, text in parts.items() if text) or "nothing"


def rows(study: StudyResults) -> list[list[str]]:
    """Return the front, the fastest first, and the baseline."""
    front = [
        [str(trial.number), *_cells(study, trial, trial.ratio, changes(trial))]
        for trial in study.front
    ]
    return [*front, ["baseline", *_cells(study, study.baseline, 1.0, "nothing")]]


def markdown_front(study: StudyResults) -> str:
    """Return the front as a Markdown table."""
    return f"{markdown(titles(study), rows(study))}\n"


def _cells(
    study: StudyResults, facts: Trial | Baseline, ratio: float | None, changed: str
) -> list[str]:
    metric = study.metric.metric
    assert facts.latency is not None
    return [
        metric.show(facts.quality),
        metric.show(facts.test_quality),
        f"{facts.latency.median_ms:.3f}",
        "–" if ratio is None else f"{ratio:.2f}",
        "–" if facts.macs is None else f"{facts.macs / 1e6:.2f} M",
        changed,
    ]
