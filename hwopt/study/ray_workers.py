"""A study's tasks on a Ray cluster whose machines share the study's folder."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwopt.errors import HwoptError, first_line
from hwopt.study.processes import Outcome, Processes, Task
from hwopt.targets.address import parse_address

#: Ray may need a while to start a worker of its own, which starts the task's process.
_START_SECONDS = 120
_ANSWER_SECONDS = 10


class RayWorkers:
    """Tasks of training go to the machines of a cluster, all others stay on this one.

    Measuring stays here, where the device is reached from.

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

    def run(self, folder: Path, tasks: Sequence[Task], seconds: float) -> list[Outcome]:
        """Run tasks side by side; see :class:`hwopt.study.processes.Workers`."""
        if any(task.do != "train" for task in tasks):
            return Processes().run(folder, tasks, seconds)
        remote = self._ray.remote(max_retries=0)(_run_one)
        waiting = [
            remote.options(num_cpus=task.threads or 1).remote(str(folder.resolve()), task, seconds)
            for task in tasks
        ]
        return [self._outcome(one, seconds) for one in waiting]

    def _outcome(self, reference: Any, seconds: float) -> Outcome:
        try:
            found: Outcome = self._ray.get(reference, timeout=seconds + _START_SECONDS)
        except self._ray.exceptions.GetTimeoutError:
            self._ray.cancel(reference, force=True)
            return Outcome(reason=f"took over {seconds:g} s")
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


def _run_one(folder: str, task: Task, seconds: float) -> Outcome:
    return Processes().run(Path(folder), [task], seconds)[0]
