"""A command that is killed with SIGKILL at random moments, each time started again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwopt.files import read_json

#: What must be the same in the table of a job that was killed.
SAME = ("quality", "parameters", "macs", "notes", "passes")


def optimize(recipe: Path, output: Path, *flags: str) -> list[str]:
    """Return the command line of a job."""
    words = ["optimize", str(recipe), "--output", str(output), *flags]
    return [sys.executable, "-m", "hwopt.cli.main", *words]


def whole(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """Run a command to its end; return the seconds it took."""
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return time.perf_counter() - start


def killed(
    command: Sequence[str],
    environment: Mapping[str, str],
    kills: int,
    longest: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Kill a command so many times, then let it end; return when, and in which step.

    Args:
        command: of a job.
        environment: of its processes.
        kills: how many.
        longest: seconds between two kills, beside the two that it takes to start: so many times a
            part of what the command takes that it does not end before the last one.
        seed: of the moments.

    Raises:
        RuntimeError: if it ends before it was killed so often.
    """
    moments = random.Random(seed)
    found: list[dict[str, Any]] = []
    while len(found) < kills:
        wait = moments.uniform(2.0, 2.0 + longest)
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            process.communicate(timeout=wait)
            raise RuntimeError(f"it ended after {len(found)} of {kills} kills")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            errors = process.communicate()[1]
        steps = [line for line in errors.splitlines() if line.startswith("> ")]
        found.append({"after": round(wait, 1), "in": steps[-1][2:] if steps else "start"})
    whole(command, environment)
    return found


def same_table(first: Path, second: Path) -> bool:
    """Return whether two jobs ended with the same networks."""
    tables = [read_json(folder / "results.json")["variants"] for folder in (first, second)]
    return all(tables[0][v][key] == tables[1][v][key] for v in tables[0] for key in SAME)
