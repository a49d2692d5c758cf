"""What was measured on one target: every kernel's candidates, kept across models and runs."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import importlib.metadata
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tvm_ffi
from tvm import tirx

from hwopt.files import append_line, storage_errors, user_folder
from hwopt.targets.target import Target

RECORDS, LIBRARIES = "records.jsonl", "libraries"
LOCK = "lock"


@dataclasses.dataclass(frozen=True)
class Record:
    """One measured candidate.

    Attributes:
        kernel: Key of the unscheduled kernel, from :func:`kernel_key`.
        name: The kernel's name in the model that it was measured for; for readers only.
        template: Name of the template.
        config: The template's choice.
        median_us: Median time of one call, in microseconds; None if the candidate failed.
        fastest_us: The least of these times. It ranks candidates: whatever else the machine does
            makes timings longer, never shorter.
        runs: How many timings the median is over.
        error: Why the candidate failed; None if it did not.
    """

    kernel: str
    name: str
    template: str
    config: dict[str, int]
    median_us: float | None
    fastest_us: float | None
    runs: int
    error: str | None = None


FIELDS = tuple(field.name for field in dataclasses.fields(Record))


def kernel_key(func: tirx.PrimFunc) -> str:
    """Return a key that equal unscheduled kernels share, whatever their names."""
    for attribute in list(func.attrs.keys()) if func.attrs else []:
        if attribute != "tirx.noalias":
            func = func.without_attr(attribute)
    return f"{tvm_ffi.structural_hash(func) & (2**64 - 1):016x}"


class KernelDatabase:
    """The records of one target, in a folder of their own, timed with the code that there is now.

    Another version of TVM or of the templates makes other code of the same choice, so it begins
    with an empty database.

    A record is one line, appended in one write: a process that is killed loses at most the line
    it was writing, which later readers pass over.
    """

    def __init__(self, target: Target, folder: Path | None = None) -> None:
        """Open the target's database under the user's folder (or in ``folder``)."""
        self.folder = folder or own_folder(target)
        self._records: dict[tuple[str, str], dict[str, Record]] = {}
        self._load()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from measuring for this target, and see what they measured before.

        Two that measure at the same time would disturb each other's times.
        """
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / LOCK).open("ab")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._load()
            yield

    def candidates(self, kernel: str, template: str) -> list[Record]:
        """Return the last record of each candidate of a kernel, failed ones included."""
        return list(self._records.get((kernel, template), {}).values())

    def add(self, record: Record) -> None:
        """Keep a record, on disk before this returns."""
        self._remember(record)
        append_line(self.folder / RECORDS, json.dumps(dataclasses.asdict(record)))

    def _remember(self, record: Record) -> None:
        config = json.dumps(record.config, sort_keys=True)
        self._records.setdefault((record.kernel, record.template), {})[config] = record

    def _load(self) -> None:
        path = self.folder / RECORDS
        if not path.exists():
            return
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            record = _parse(line)
            if record is not None:
                self._remember(record)


def own_folder(target: Target) -> Path:
    """Return the folder of what was measured on a target, with the code that there is now."""
    name = re.sub(r"[^\w.-]", "_", target.name)
    return user_folder() / "kernels" / f"{name}-{target.fingerprint()}-{code_version()}"


@functools.cache
def code_version() -> str:
    """Return 8 hex digits that change with TVM and with the source of the templates."""
    digest = hashlib.sha256(importlib.metadata.version("apache-tvm").encode())
    folder = Path(__file__).parent
    for file in [folder / "tvm_build.py", *sorted((folder / "templates").glob("*.py"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def _parse(line: str) -> Record | None:
    """Return the record on a line, or None if the line is torn or of another format."""
    try:
        values: Any = json.loads(line)
    except json.JSONDecodeError:
        return None
    if not isinstance(values, dict) or set(values) != set(FIELDS):
        return None
    return Record(**values)


def best(records: Iterable[Record]) -> Record | None:
    """Return the fastest candidate, among those that were timed most thoroughly."""
    timed = [record for record in records if record.fastest_us is not None]
    most = max((record.runs for record in timed), default=0)
    finalists = [record for record in timed if record.runs == most]
    return min(finalists, key=lambda record: record.fastest_us or 0.0, default=None)
