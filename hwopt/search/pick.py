"""One model of a study's front."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hwopt.errors import HwoptError
from hwopt.files import MANIFEST_FILE, atomic_folder
from hwopt.search.read_study import read_study


def pick(
    folder: Path, *, latency_ms: float | None = None, accuracy: float | None = None
) -> dict[str, Any]:
    """Return the trial of the front that fits a wish best.

    Args:
        folder: of the study.
        latency_ms: the most accurate trial that takes no more, in milliseconds.
        accuracy: the fastest trial whose validation accuracy, in [0, 1], is no less.

    Raises:
        HwoptError: if no model was compiled yet, or none fits; the nearest is named.
    """
    document = read_study(folder)
    if not document["front"]:
        raise HwoptError(f"the front of {folder} is empty: no candidate was measured within limits")
    trials = [document["trials"][number] for number in document["front"]]
    trials = [trial for trial in trials if "artifact" in trial]  # by latency
    if not trials:
        raise HwoptError(f"no model of {folder} is compiled yet: let `hwopt search` end")
    if latency_ms is not None:
        fitting = [t for t in trials if t["latency"]["median_ms"] <= latency_ms]
        fitting.sort(key=lambda trial: float(trial["accuracy"]), reverse=True)
        nearest = f"the fastest takes {trials[0]['latency']['median_ms']:.3f} ms"
    else:
        fitting = [t for t in trials if t["accuracy"] >= (accuracy or 0.0)]
        nearest = f"the best has {max(trial['accuracy'] for trial in trials):.4f}"
    if not fitting:
        raise HwoptError(f"no model of the front fits: {nearest}")
    found: dict[str, Any] = fitting[0]
    return found


def copy_artifact(folder: Path, trial: dict[str, Any], output: Path) -> None:
    """Copy the artefact of a trial; another artefact is replaced, anything else refused.

    Raises:
        HwoptError: if it is not there any more, or the other cannot be written.
    """
    source = folder / trial["artifact"]
    if not (source / MANIFEST_FILE).exists():
        raise HwoptError(f"{source} was removed: `hwopt search` makes it again")
    with atomic_folder(output, MANIFEST_FILE) as temporary:
        shutil.copytree(source, temporary, dirs_exist_ok=True)
