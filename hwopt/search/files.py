"""What lies where in a study's folder."""

from __future__ import annotations

from pathlib import Path

RECIPE_FILE = "recipe.json"
#: Dimensions, what every choice does by itself, and the baseline.
SPACE_FILE = "space.json"
STUDY_FILE = "study.json"
TRIALS_FILE = "trials.db"
#: Tells the folder's study from those of other machines in a database of many.
IDENTITY_FILE = "identity.json"
#: Folders of models with other options, each with a trained network.
MODELS = "models"
#: Held while what several candidates need is made.
SHARED_LOCK = "shared.lock"


def candidate_file(folder: Path, name: str) -> Path:
    """Return the file that says what a candidate is."""
    return folder / "candidates" / f"{name}.json"


def finished_file(folder: Path, name: str) -> Path:
    """Return the file that says what became of a candidate of the front."""
    return folder / "candidates" / f"{name}.finished.json"
