"""Where tasks run: processes of this machine, with a time limit each."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hwopt.files import read_json, write_json
from hwopt.search.workers.nursery import nursery

_LOOK_SECONDS = 0.05
#: Of what a process said before it ended, for the reason.
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Task:
    """A call, done by a process of its own.

    Attributes:
        function: ``package.module:name``; its module must start no threads when it is imported.
        arguments: by name, as JSON; paths in them are absolute.
        threads: that it takes.
        float_lanes: it needs a machine whose vectors have so many floats; None takes any.
    """

    function: str
    arguments: dict[str, Any] = field(default_factory=dict)
    threads: int = 1
    float_lanes: int | None = None

    @property
    def module(self) -> str:
        """The module of the function."""
        return self.function.partition(":")[0]


@dataclass(frozen=True)
class Outcome:
    """The result of a task, or why there is none."""

    result: Any = None
    reason: str | None = None


class Workers(Protocol):
    """Runs tasks."""

    def run(self, tasks: Sequence[Task], seconds: float) -> list[Outcome]:
        """Run tasks side by side, and return what became of them, in their order.

        Args:
            tasks: what to do.
            seconds: after which a task is ended, and lost.
        """
        ...


class Processes:
    """Processes of this machine."""

    def run(self, tasks: Sequence[Task], seconds: float) -> list[Outcome]:
        """Run tasks side by side; see :class:`Workers`."""
        with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
            running = [
                stack.enter_context(_Running(task, Path(scratch) / str(number)))
                for number, task in enumerate(tasks)
            ]
            end = time.monotonic() + seconds
            while time.monotonic() < end and any(one.is_alive() for one in running):
                time.sleep(_LOOK_SECONDS)
            return [one.outcome(seconds) for one in running]


class _Running:
    """A process at work; it ends with the block, and all that it started."""

    def __init__(self, task: Task, scratch: Path) -> None:
        scratch.mkdir()
        self._result, self._said = scratch / "result.json", scratch / "stderr"
        document = {"function": task.function, "arguments": task.arguments}
        write_json(scratch / "task.json", document)
        files = (scratch / "task.json", self._result)
        self._nursery = nursery(task.module)
        self._number = self._nursery.fork([*map(str, files)], self._said)

    def __enter__(self) -> _Running:
        return self

    def __exit__(self, *_: object) -> None:
        while True:  # its session is there as soon as it runs
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._number, signal.SIGKILL)
            if not self.is_alive():
                return
            time.sleep(_LOOK_SECONDS)

    def is_alive(self) -> bool:
        return self._nursery.code(self._number) is None

    def outcome(self, seconds: float) -> Outcome:
        if self.is_alive():
            return Outcome(reason=f"took over {seconds:g} s")
        code = self._nursery.code(self._number) or 0
        if code == 0 and self._result.exists():
            return Outcome(read_json(self._result))
        if code < 0:
            return Outcome(reason=f"its process was ended by {signal.Signals(-code).name}")
        lines = self._said.read_text(errors="replace").strip().splitlines()
        last = lines[-1][:_LONGEST_REASON] if lines else f"its process ended with code {code}"
        return Outcome(reason=last)
