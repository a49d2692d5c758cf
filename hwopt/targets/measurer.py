"""Times candidates in a separate process with a time limit."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hwopt.errors import HwoptError
from hwopt.targets import threads
from hwopt.targets.candidates import LOST, PROGRESS
from hwopt.targets.target import Target

if TYPE_CHECKING:
    from hwopt.targets.templates import Config

log = logging.getLogger("hwopt.targets")

CANDIDATE_SECONDS = 20.0
BOARD_SECONDS = 600.0
START_SECONDS = 60.0
WORKER = (sys.executable, "-m", "hwopt.targets.worker")
_BROKEN = "broken"


class Measurer:
    """Sends candidates to a worker process, and starts a new one when it dies or hangs.

    Use it as a context manager: the worker ends with the block. It starts with the first
    candidate, so that nothing is started where there is nothing to measure.
    """

    def __init__(
        self,
        target: Target,
        seconds: float = CANDIDATE_SECONDS,
        start_seconds: float = START_SECONDS,
        command: Sequence[str] = WORKER,
        board_seconds: float = BOARD_SECONDS,
    ) -> None:
        """Measure for ``target``, at most ``seconds`` a candidate, with the worker ``command``.

        Where the target is a board, one that is away or busy is waited for ``board_seconds``.
        """
        self._target = target
        self._start_seconds = start_seconds
        self._command = command
        self._seconds = seconds
        self._board_seconds = board_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._read = b""

    def __enter__(self) -> Measurer:
        """Start nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the worker."""
        self._stop()

    def measure(
        self,
        module: str,
        template: str,
        configs: Sequence[Config],
        *,
        repeats: int,
        repeat_ms: int,
        best_us: float | None,
    ) -> Iterator[tuple[Config, dict[str, Any]]]:
        """Yield each candidate with ``median_us``, ``fastest_us`` and ``runs``, or ``error``.

        A candidate that crashes or hangs by itself is an error. Where all are timed in full, they
        have run before: if the worker breaks then, no more are yielded.

        Args:
            module: the unscheduled kernel as TVM's JSON, its function named ``main``.
            template: name of the template.
            configs: the candidates.
            repeats, repeat_ms: timings of each, and the least milliseconds of one timing.
            best_us: the fastest so far: a candidate that is far slower is timed briefly. None
                times all in full.

        Raises:
            HwoptError: if the worker does not start, or no board can be had.
        """
        request = {
            "module": module,
            "target": dataclasses.asdict(self._target),
            "template": template,
            "repeats": repeats,
            "repeat_ms": repeat_ms,
            "best_us": best_us,
            "board_seconds": self._board_seconds,
        }
        waiting, together = list(configs), True
        while waiting:
            asked = waiting if together else waiting[:1]
            for answer in self._ask({**request, "configs": asked}):
                if _BROKEN in answer and best_us is None:
                    return
                if _BROKEN in answer and len(asked) > 1:
                    # Whichever of them it was, and whether it does so again, is seen one by one.
                    together = False
                    break
                if LOST in answer:
                    raise HwoptError(f"kernels cannot be measured: {answer[LOST]}")
                error = {"error": f"the candidate {answer[_BROKEN]}"} if _BROKEN in answer else {}
                yield waiting.pop(0), error or answer

    def _ask(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the answers to a request, the last one ``_BROKEN`` if the worker ended or hangs."""
        process = self._running()
        left, state = len(request["configs"]), ""
        limit = self._seconds * left  # until all are built
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        while left:
            line = self._read_line(process, limit)
            if not line:
                self._stop()
                yield {
                    _BROKEN: "crashed the worker" if line is not None else f"took over {limit:g} s"
                }
                return
            limit = self._seconds
            answer: dict[str, Any] = json.loads(line)
            if PROGRESS not in answer:
                left -= 1
                yield answer
            elif answer[PROGRESS] != state:
                state = answer[PROGRESS]
                level = logging.WARNING if state.startswith("no board") else logging.INFO
                log.log(level, "%s", state)

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the worker; start it if there is none.

        Raises:
            HwoptError: if it does not start.
        """
        if self._process is not None:
            return self._process
        if self._target.runner == "rpc":
            from hwopt.targets import boards

            boards.release()  # the worker asks for one
        with tempfile.TemporaryFile() as errors:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={
                    **os.environ,
                    **threads.environment(self._target.threads),
                    "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
                },
            )
            if not self._read_line(self._process, self._start_seconds):
                self._stop()
                errors.seek(0)
                lines = errors.read().decode(errors="replace").strip().splitlines()
                reason = lines[-1] if lines else f"no answer within {self._start_seconds:g} s"
                raise HwoptError(f"the process that times kernels does not start: {reason}")
        return self._process

    def _read_line(self, process: subprocess.Popen[bytes], seconds: float) -> bytes | None:
        """Return a line, nothing if the process ended before its end, or None if time ran out."""
        assert process.stdout is not None
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._read:
                if not selector.select(max(0.0, end - time.monotonic())):
                    return None
                part = os.read(process.stdout.fileno(), 65536)
                if not part:
                    return b""
                self._read += part
        line, _, self._read = self._read.partition(b"\n")
        return line

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process = None
        self._read = b""
