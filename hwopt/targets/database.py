"""What was measured on one target: every kernel's candidates, kept across models and runs."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tvm_ffi
from tvm import tirx

from hwopt.files import user_folder
from hwopt.targets.target import Target

RECORDS, LIBRARIES = "records.jsonl", "libraries"
FIELDS = ("kernel", "name", "template", "config", "median_us", "fastest_us", "runs")


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
    """

    kernel: str
    name: str
    template: str
    config: dict[str, int]
    median_us: float | None
    fastest_us: float | None
    runs: int


def kernel_key(func: tirx.PrimFunc) -> str:
    """Return a key that equal unscheduled kernels share, whatever their names."""
    for attribute in list(func.attrs.keys()) if func.attrs else []:
        if attribute != "tirx.noalias":
            func = func.without_attr(attribute)
    return f"{tvm_ffi.structural_hash(func) & (2**64 - 1):016x}"


class KernelDatabase:
    """The records of one target, in a folder of their own.

    A record is one line, appended in one write: a process that is killed loses at most the line
    it was writing, which later readers pass over.
    """

    def __init__(self, target: Target, folder: Path | None = None) -> None:
        """Open the target's database under the user's folder (or in ``folder``)."""
        name = re.sub(r"[^\w.-]", "_", target.name)
        self.folder = folder or user_folder() / "kernels" / f"{name}-{target.fingerprint()}"
        self._records: dict[tuple[str, str], dict[str, Record]] = {}
        for record in self._read():
            self._remember(record)

    def candidates(self, kernel: str, template: str) -> list[Record]:
        """Return the last record of each candidate of a kernel, failed ones included."""
        return list(self._records.get((kernel, template), {}).values())

    def add(self, record: Record) -> None:
        """Keep a record, on disk before this returns."""
        self._remember(record)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / RECORDS
        line = json.dumps(dataclasses.asdict(record)) + "\n"
        with path.open("ab+") as file:
            if file.tell() and not self._ends_with_newline(path):
                line = "\n" + line  # the last writer was killed in the middle of its line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def _remember(self, record: Record) -> None:
        config = json.dumps(record.config, sort_keys=True)
        self._records.setdefault((record.kernel, record.template), {})[config] = record

    def _read(self) -> list[Record]:
        path = self.folder / RECORDS
        if not path.exists():
            return []
        records = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            record = _parse(line)
            if record is not None:
                records.append(record)
        return records

    @staticmethod
    def _ends_with_newline(path: Path) -> bool:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"


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
