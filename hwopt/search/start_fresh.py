"""A study's folder as if no study had been there."""

from __future__ import annotations

import shutil
from pathlib import Path

from hwopt.files import storage_errors
from hwopt.job import workspace
from hwopt.job.workspace import STEPS, Workspace
from hwopt.search.files import MODELS, RECIPE_FILE, SPACE_FILE, STUDY_FILE, TRIALS_FILE


def start_fresh(folder: Path) -> None:
    """Remove what an earlier study left; nothing where none has been.

    Raises:
        HwoptError: if a study is at work in the folder, or it cannot be written.
    """
    workspace.start_fresh(folder)
    if not (folder / STEPS).is_dir():
        return
    with Workspace(folder).alone(), storage_errors(folder):
        for name in ("candidates", MODELS):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in (RECIPE_FILE, SPACE_FILE, STUDY_FILE):
            (folder / name).unlink(missing_ok=True)
        for file in folder.glob(f"{TRIALS_FILE}*"):  # a journal beside it would be played again
            file.unlink()
