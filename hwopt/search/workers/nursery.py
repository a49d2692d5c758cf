"""A process that has imported what workers need, and forks them: a task begins at once.

python -m hwopt.search.workers.nursery MODULE ...
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from hwopt.errors import HwoptError
from hwopt.search.workers import worker

#: Only a process without threads may be forked.
_WITHOUT_THREADS = {"OPENBLAS_NUM_THREADS": "1"}


class Nursery:
    """The process, from the side of those who ask it; it ends with this one.

    Args:
        modules: that it imports, which must start no threads.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hwopt.search.workers.nursery", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_WITHOUT_THREADS},
            start_new_session=True,
        )
        self._codes: dict[int, int] = {}
        self._torn = b""
        atexit.register(self.end)

    def end(self) -> None:
        """End it, and all that it has started."""
        with contextlib.suppress(BrokenPipeError):
            cast(IO[bytes], self._process.stdin).close()
        self._process.wait()
        cast(IO[bytes], self._process.stdout).close()

    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def fork(self, arguments: Sequence[str], said: Path) -> int:
        """Start a worker, in a session of its own, with this process's environment and folder.

        Args:
            arguments: of ``python -m hwopt.search.workers.worker``.
            said: the file that its standard error goes to.

        Returns:
            Its process number, which is that of its session, too.

        Raises:
            HwoptError: if the nursery has ended.
        """
        request = {
            "arguments": [*arguments],
            "said": str(said.resolve()),
            "environment": dict(os.environ),
            "folder": str(Path.cwd()),
        }
        with contextlib.suppress(BrokenPipeError):
            stdin = cast(IO[bytes], self._process.stdin)
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
        while True:
            messages = self._read(wait=True)
            if messages is None:
                raise HwoptError("the process that starts workers has ended: start again")
            for message in messages:
                if "started" in message:
                    return int(message["started"])

    def code(self, number: int) -> int | None:
        """Return the exit code of a worker, or less the signal that ended it; None while it runs.

        What the nursery's own end took with it was killed.
        """
        if self._read(wait=False) is None:
            self._codes.setdefault(number, -signal.SIGKILL)
        return self._codes.get(number)

    def _read(self, wait: bool) -> list[dict[str, Any]] | None:
        """Return what it says; None if it has ended."""
        pipe = cast(IO[bytes], self._process.stdout)
        if not select.select([pipe], [], [], None if wait else 0)[0]:
            return []
        given = os.read(pipe.fileno(), 65536)
        if not given:
            return None
        *lines, self._torn = (self._torn + given).split(b"\n")
        messages: list[dict[str, Any]] = [json.loads(line) for line in lines]
        for message in messages:
            if "ended" in message:
                self._codes[message["ended"]] = message["code"]
            else:  # numbers of processes come again
                self._codes.pop(message["started"], None)
        return messages


_known: dict[str, Nursery] = {}


def nursery(module: str) -> Nursery:
    """Return the nursery of this process for tasks of a module; another one if that has ended."""
    if module not in _known or not _known[module].is_alive():
        _known[module] = Nursery([module])
    return _known[module]


def main(modules: Sequence[str]) -> None:
    """Fork a worker for every line of the standard input, and say when it ends."""
    worker.end_with_parent()
    for name in modules:
        importlib.import_module(name)
    ended, end = os.pipe()
    os.set_blocking(end, False)
    signal.set_wakeup_fd(end)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([sys.stdin, ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            _say_ended()
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                return
            _say(started=_forked(json.loads(line)))


def _say(**message: int) -> None:
    print(json.dumps(message), flush=True)


def _say_ended() -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            number, status = os.waitpid(-1, os.WNOHANG)
            if number == 0:
                return
            _say(ended=number, code=os.waitstatus_to_exitcode(status))


def _forked(request: dict[str, Any]) -> int:
    parent = os.getpid()
    number = os.fork()
    if number == 0:
        _work(request, parent)
    return number


def _work(request: dict[str, Any], parent: int) -> NoReturn:
    """Become a worker."""
    code = 1
    try:
        worker.end_with_parent()
        if os.getppid() != parent:  # it had ended before
            os._exit(code)
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        said = os.open(request["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for place, file in enumerate((nothing, nothing, said)):
            os.dup2(file, place)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        code = worker.main(request["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
