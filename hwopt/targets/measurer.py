"""Times candidates in a separate process with a time limit."""

from __future__ import annotations

import dataclasses
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hwopt.targets.target import Target

CANDIDATE_SECONDS = 20.0
START_SECONDS = 60.0
WORKER = (sys.executable, "-m", "hwopt.targets.worker")


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
    ) -> None:
        """Measure for ``target``, at most ``seconds`` a candidate, with the worker ``command``."""
        self._target = target
        self._start_seconds = start_seconds
        self._command = command
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._fresh = True

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
        config: Mapping[str, int],
        *,
        repeats: int,
        repeat_ms: int,
        best_us: float | None,
    ) -> dict[str, Any]:
        """Return ``median_us``, ``fastest_us`` and ``runs``, or ``error`` if it failed."""
        request = {
            "module": module,
            "target": dataclasses.asdict(self._target),
            "template": template,
            "config": dict(config),
            "repeats": repeats,
            "repeat_ms": repeat_ms,
            "best_us": best_us,
        }
        process = self._running()
        limit = self._seconds + (self._start_seconds if self._fresh else 0.0)
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            line = self._read_line(process, limit)
        except BrokenPipeError:
            line = b""
        if line is None:
            self._stop()
            return {"error": f"no answer within {self._seconds:g} s"}
        if not line.endswith(b"\n"):
            self._stop()
            return {"error": "the candidate crashed the worker"}
        self._fresh = False
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            threads = str(self._target.threads)
            self._fresh = True
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={
                    **os.environ,
                    # Without it TVM takes half of the cores that it sees for hyper-threads.
                    "TVM_NUM_THREADS": threads,
                    "OMP_NUM_THREADS": threads,
                    "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
                },
            )
        return self._process

    @staticmethod
    def _read_line(process: subprocess.Popen[bytes], seconds: float) -> bytes | None:
        """Return a line, a part of one if the process ended, or None if time ran out."""
        assert process.stdout is not None
        end, line = time.monotonic() + seconds, b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, end - time.monotonic())):
                    return None
                part = os.read(process.stdout.fileno(), 65536)
                if not part:
                    break
                line += part
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
