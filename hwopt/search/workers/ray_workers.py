"""Tasks on a Ray cluster whose machines share the folders that they name."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hwopt import targets
from hwopt.errors import HwoptError, first_line, last_line
from hwopt.search.workers.processes import Outcome, Processes, Task
from hwopt.targets.address import parse_address

_ANSWER_SECONDS = 10


class Surroundings(NamedTuple):
    """What a task finds on the machine that gives it.

    Attributes:
        folder: that relative paths begin at.
        home: of what hwopt keeps between runs, if it is not the usual one.
    """

    folder: str
    home: str | None


class RayWorkers:
    """Tasks are done by the machines of a cluster.

    They see all files that the tasks name under the same paths.

    Args:
        address: of the cluster, ``HOST:PORT``, or ``local`` for one on this machine.

    Raises:
        HwoptError: if Ray is not installed, or no cluster is there.
    """

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError:
            raise HwoptError("--ray needs Ray: pip install 'hwopt[ray]'") from None
        self._ray = ray
        if address != "local":
            _check_answer(address)
        try:
            ray.init(address=address, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise HwoptError(f"no Ray cluster at {address}: {error}") from None

    def run(self, tasks: Sequence[Task], seconds: float) -> list[Outcome]:
        """Run tasks side by side; see :class:`hwopt.search.workers.processes.Workers`.

        Raises:
            HwoptError: if no machine of the cluster has as many cores as a task takes.
        """
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        most = max((node["Resources"].get("CPU", 0) for node in nodes), default=0)
        needed = max(task.threads for task in tasks)
        if needed > most:
            raise HwoptError(
                f"a training takes {needed} threads, and no machine of the Ray cluster has more "
                f"than {most:g} cores for it: give --threads, or more --workers"
            )
        here = Surroundings(str(Path.cwd()), os.environ.get("HWOPT_HOME"))
        remote = self._ray.remote(max_retries=0)(_run_one)
        waiting = [
            remote.options(num_cpus=task.threads).remote(task, seconds, here) for task in tasks
        ]
        return [self._outcome(one) for one in waiting]

    def _outcome(self, reference: Any) -> Outcome:
        """Return what became of a task: it limits its own time; waiting for cores has no limit."""
        try:
            found: Outcome = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            return Outcome(reason=f"it could not be started there: {last_line(error)}")
        except self._ray.exceptions.RayError as error:
            return Outcome(reason=f"its worker was lost: {first_line(error)}")
        return found


def _check_answer(address: str) -> None:
    """Refuse an address where nobody answers: Ray itself would try for minutes."""
    host, port = parse_address(address, "a Ray cluster")
    try:
        socket.create_connection((host, port), _ANSWER_SECONDS).close()
    except OSError as error:
        raise HwoptError(f"no Ray cluster at {address}: {error}") from None


def _run_one(task: Task, seconds: float, there: Surroundings) -> Outcome:
    """Run a task on a machine of the cluster as on the one that gives it."""
    lanes = targets.get("host").float_lanes
    if task.float_lanes not in (None, lanes):
        return Outcome(
            reason=f"{socket.gethostname()} has vectors of {lanes} floats, the study's machine of "
            f"{task.float_lanes}: name the target in the recipe instead of host"
        )
    os.chdir(there.folder)
    if there.home is not None:
        os.environ["HWOPT_HOME"] = there.home
    return Processes().run([task], seconds)[0]
