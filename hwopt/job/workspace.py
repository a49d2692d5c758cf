"""The folder of a job: every finished step is recorded, so that nothing is computed twice."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hwopt.errors import HwoptError
from hwopt.files import read_json, storage_errors, write_json

STEPS, CHECKPOINTS = "steps", "checkpoints"
PARTS = (STEPS, "graphs", "artifacts", "peers", "scores", "differences", CHECKPOINTS)
# Names that hwopt.files writes under.
_TEMPORARY = ".*.part"


class Workspace:
    """Steps with their results in a folder.

    A step is done when its record is there and has the step's key; the key is a hash of all that
    the result depends on, the keys of earlier steps included. A step killed in the middle leaves
    no record and runs again.
    """

    def __init__(self, folder: Path, report: Callable[[str, bool], None] | None = None) -> None:
        self.folder = folder
        self._report = report or (lambda name, reused: None)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other jobs out of the folder, and remove what a killed one was writing.

        Raises:
            HwoptError: if another job is at work in the folder, or it cannot be written.
        """
        steps = self.path(STEPS)
        with storage_errors(steps):
            steps.mkdir(parents=True, exist_ok=True)
            lock = (steps / "lock").open("ab")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"another job is at work in {self.folder}: wait for it, or choose another"
                raise HwoptError(message) from None
            own = [self.folder.glob(_TEMPORARY)]
            own += [self.path(part).rglob(_TEMPORARY) for part in PARTS]
            for left in itertools.chain(*own):
                shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
            yield

    def step(
        self, name: str, depends_on: Any, compute: Callable[[], Any], makes: Path | None = None
    ) -> tuple[Any, str]:
        """Return the step's JSON result and its key; ``compute`` runs only if it is not done.

        Args:
            name: of the step.
            depends_on: all that its result depends on, as JSON.
            compute: returns the result.
            makes: a folder that it leaves, too: where that was removed, it is not done.
        """
        key = digest([name, depends_on])
        record = self.path(STEPS, f"{name}.json")
        if record.exists() and (makes is None or makes.exists()):
            stored = self._read(record)
            if stored.get("key") == key:
                self._report(name, True)
                return stored["result"], key
        self._report(name, False)
        record.unlink(missing_ok=True)  # what it stands for is overwritten now
        start = time.perf_counter()
        result = compute()
        seconds = round(time.perf_counter() - start, 1)
        write_json(record, {"key": key, "result": result, "seconds": seconds})
        return json.loads(json.dumps(result)), key

    def path(self, *parts: str) -> Path:
        """Return a path in the folder."""
        return self.folder.joinpath(*parts)

    def seconds(self, name: str) -> float:
        """Return how long the last run of a step took, since it was last killed."""
        return float(read_json(self.path(STEPS, f"{name}.json"))["seconds"])

    def _read(self, record: Path) -> dict[str, Any]:
        try:
            stored = read_json(record)
        except HwoptError:
            return {}  # a damaged record is no record: the step runs again
        return stored if isinstance(stored, dict) else {}


def start_fresh(folder: Path) -> None:
    """Remove what an earlier job left; nothing where no job has been.

    Raises:
        HwoptError: if a job is at work in the folder, or it cannot be written.
    """
    if not (folder / STEPS).is_dir():
        return
    with Workspace(folder).alone(), storage_errors(folder):
        for record in (folder / STEPS).glob("*.json"):
            record.unlink()
        for part in PARTS:
            if part != STEPS and (folder / part).exists():
                shutil.rmtree(folder / part)


def digest(value: Any) -> str:
    """Return 16 hex digits that stand for a JSON value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
