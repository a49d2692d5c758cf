"""Reads ``study.json``, whoever wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwopt.errors import HwoptError
from hwopt.files import read_json
from hwopt.search.files import STUDY_FILE

SCHEMA_VERSION = 2
_KEYS = {
    *("hwopt", "name", "recipe", "search", "target", "threads", "data", "sampler", "seed"),
    *("space", "notes", "baseline", "trials", "front", "hypervolume", "contributions", "peers"),
}


def read_study(folder: Path) -> dict[str, Any]:
    """Return the content of a folder's ``study.json``.

    Raises:
        HwoptError: if there is none, or it is damaged or of another version.
    """
    path = folder / STUDY_FILE
    if not path.exists():
        raise HwoptError(f"{folder} holds no study: it has no {STUDY_FILE}")
    document = read_json(path)
    is_whole = isinstance(document, dict) and document.keys() >= _KEYS
    if not is_whole or document.get("schema_version") != SCHEMA_VERSION:
        raise HwoptError(f"{path} is damaged or of another version: run `hwopt search` again")
    return dict(document)
