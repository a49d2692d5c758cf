"""Results of experiments: one JSON line a run; a run that is there already is not repeated."""

from __future__ import annotations

import fcntl
import json
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import hwopt
from hwopt import targets

RESULTS = Path(__file__).parent / "results"
#: Of a training beside others: see :meth:`Records.run_all`.
TRAINING_THREADS = 1


class Records:
    """The lines of one experiment, ``results/NAME.jsonl``."""

    def __init__(self, name: str) -> None:
        self.path = RESULTS / f"{name}.jsonl"

    def read(self) -> list[dict[str, Any]]:
        """Return all runs; a last line that a killed process left torn is ignored."""
        if not self.path.exists():
            return []
        runs = []
        for line in self.path.read_text().splitlines():
            try:
                runs.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return runs

    def run(self, key: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the run with this key on this machine; measure and append it if it is new."""
        known = self.find({**key, **machine()})
        if known is not None:
            print(f"known: {key}")
            return known
        return self.append(key, measure())

    def run_all(
        self, keys: Iterable[dict[str, Any]], measure: Callable[..., dict[str, Any]]
    ) -> None:
        """Run all that are new, on any machine, in as many processes as there are cores.

        For trainings, which are not timed. Each should take :data:`TRAINING_THREADS` of torch, so
        that together they have the cores that there are.

        Args:
            keys: of the runs.
            measure: a function of a module, called with the values of a key by their names.
        """
        new = [key for key in keys if self.find(key) is None]
        pool = ProcessPoolExecutor(targets.get("host").threads, get_context("spawn"))
        try:
            runs = {pool.submit(measure, **key): key for key in new}
            for run in as_completed(runs):
                self.append(runs[run], run.result())
        finally:
            pool.shutdown(cancel_futures=True)

    def find(self, key: dict[str, Any]) -> dict[str, Any] | None:
        """Return the run with this key; None if it is new."""
        return next(iter(self.find_all(key)), None)

    def find_all(self, key: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return all runs with this key, or with this part of one."""
        return [
            known
            for known in self.read()
            if all(known.get(name) == value for name, value in key.items())
        ]

    def append(self, key: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
        """Add a line, with the machine and the commit, and return it."""
        record = {**key, **machine(), "commit": commit(), **figures}
        RESULTS.mkdir(exist_ok=True)
        torn = self.path.exists() and self.path.read_bytes()[-1:] not in (b"", b"\n")
        with self.path.open("a") as file:
            file.write(("\n" if torn else "") + json.dumps(record) + "\n")
        print(json.dumps(record), flush=True)
        return record


def kept_graph(folder: Path, make: Callable[[], hwopt.Graph]) -> hwopt.Graph:
    """Return the graph in a folder, made and put there if there is none yet.

    Of processes that want the same one, one makes it and the others wait.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "graph.json").exists():  # which is written last
            make().save(folder)
    return hwopt.Graph.load(folder)


def mean_and_spread(values: Sequence[float]) -> str:
    """Return the mean, and the standard deviation of several.

    >>> mean_and_spread([90.0, 91.0])
    '90.50 ± 0.71'
    """
    spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{mean(values):.2f}{spread}"


def measured_on(runs: list[dict[str, Any]]) -> str:
    """Return the sentence that says on what machine and which code runs were measured."""
    where = dict.fromkeys(f"{run['cpu']}, {run['isa']}, {run['threads']} threads" for run in runs)
    code = dict.fromkeys(str(run.get("commit", "unrecorded")) for run in runs)
    return f"Measured on: {'; '.join(where)}; commit {', '.join(code)}."


def commit() -> str:
    """Return the commit of the package that is measured; ``+`` if it was changed since."""
    changed = _git("status", "--porcelain", "--", "hwopt")
    return _git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _git(*arguments: str) -> str:
    folder = RESULTS.parents[1]
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def machine() -> dict[str, Any]:
    """Return what figures of different machines are told apart by."""
    host = targets.get("host")
    return {"cpu": host.cpu, "isa": host.isa, "threads": host.threads}


def latest(runs: Iterable[dict[str, Any]], *names: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return the last run of every combination of values.

    >>> latest([{"net": "a", "ms": 2}, {"net": "a", "ms": 1}], "net")
    {('a',): {'net': 'a', 'ms': 1}}
    """
    return {tuple(run[name] for name in names): run for run in runs}
