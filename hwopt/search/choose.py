"""One model of a study's front."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from hwopt.errors import HwoptError
from hwopt.files import MANIFEST_FILE, atomic_folder
from hwopt.search.results import StudyResults, Trial


def pick(
    folder: Path,
    *,
    latency_ms: float | None = None,
    quality: float | None = None,
    no_worse: float | None = None,
) -> Trial:
    """Return the trial of the front that fits a wish best.

    Args:
        folder: of the study.
        latency_ms: the best trial that takes no more, in milliseconds.
        quality: the fastest trial that is no worse, by the metric on the validation split.
        no_worse: the fastest trial that is no worse than the baseline by more than this, with 95 %:
            points of a share, else that share of the baseline's figure.

    Raises:
        HwoptError: if no model was compiled yet, or none fits; the nearest is named.
    """
    results = StudyResults.of(folder)
    if not results.on_front:
        raise HwoptError(f"the front of {folder} is empty: no candidate was measured within limits")
    trials = [trial for trial in results.front if trial.artifact is not None]  # by latency
    if not trials:
        raise HwoptError(f"no model of {folder} is compiled yet: let `hwopt search` end")
    if latency_ms is not None:
        fitting = [trial for trial in trials if trial.median_ms <= latency_ms]
        fitting.sort(key=results.gain, reverse=True)
        nearest = f"the fastest takes {trials[0].median_ms:.3f} ms"
    elif no_worse is not None:
        fitting = [trial for trial in trials if results.is_as_good(trial, no_worse)]
        known = [trial.worse_by for trial in trials if trial.worse_by is not None]
        least = min(known, default=math.nan)
        nearest = f"the best is worse by {least:.4g} at the most, with 95 %"
    else:
        metric = results.metric.metric
        fitting = [
            trial
            for trial in trials
            if quality is None
            or (trial.quality is not None and metric.gain(trial.quality, quality) >= 0)
        ]
        nearest = f"the best has {metric.show(max(trials, key=results.gain).quality)}"
    if not fitting:
        raise HwoptError(f"no model of the front fits: {nearest}")
    return fitting[0]


def copy_artifact(folder: Path, trial: Trial, output: Path) -> None:
    """Copy the artefact of a trial; another artefact is replaced, anything else refused.

    Raises:
        HwoptError: if it is not there any more, or the other cannot be written.
    """
    source = folder / str(trial.artifact)
    if not (source / MANIFEST_FILE).exists():
        raise HwoptError(f"{source} was removed: `hwopt search` makes it again")
    with atomic_folder(output, MANIFEST_FILE) as temporary:
        shutil.copytree(source, temporary, dirs_exist_ok=True)
