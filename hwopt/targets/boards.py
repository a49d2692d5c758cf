"""A session on a board: code is sent there, runs there and is timed there."""

from __future__ import annotations

import contextlib
import itertools
import logging
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import rpc

from hwopt.errors import HwoptError, last_line
from hwopt.targets.libraries import link
from hwopt.targets.target import Target
from hwopt.targets.threads import granted
from hwopt.targets.tracker import WAIT_SECONDS, BoardLost, Tracker

__all__ = ["Board", "BoardLost", "release", "request", "shared"]

log = logging.getLogger("hwopt.devices")

#: How long one session may last, on the server's clock.
SESSION_SECONDS = 3600.0
#: A board that the tracker offers, and that does not answer, is tried again after so long.
RETRY_SECONDS = 1.0


class Board:
    """A board, alone for this process as long as this object, or something there, lives.

    Attributes:
        kept: what is there, by whom it is for; it goes with the board.
    """

    def __init__(self, session: Any, name: str) -> None:
        self.name = name
        self._session = session
        self._device = session.cpu(0)
        self._threads = 0, 0  # that were asked for last, and granted
        self._names = itertools.count()
        self.kept: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    def use_threads(self, count: int) -> int:
        """Let kernels run with ``count`` threads from now on; return what the board grants."""
        if self._threads[0] != count:
            with self.errors():
                self._threads = count, granted(self._session.get_function, count)
        return self._threads[1]

    def ask(self, name: str) -> Any:
        """Return what a function of the server's, without arguments, returns.

        Raises:
            HwoptError: if it has none of this name.
        """
        try:
            with self.errors():
                return self._session.get_function(name)()
        except AttributeError:
            raise HwoptError(
                f"the board {self.name} cannot tell {name}: start `hwopt devices serve` there in "
                "the place of TVM's own server"
            ) from None

    def load(self, library: Path) -> Any:
        """Send a linked library, and return it as a module that runs there."""
        name = f"library{next(self._names)}.so"
        with self.errors():
            self._session.upload(bytearray(library.read_bytes()), name)
            return self._session.load_module(name)

    def load_module(self, module: Any, target: Target) -> Any:
        """Link a module that was built for a target, send it, and return it."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "module.so"
            link(module, path, target)
            return self.load(path)

    def tensor(self, array: np.ndarray) -> Any:
        """Return a copy of an array there."""
        with self.errors():
            return tvm.runtime.tensor(array, self._device)

    def seconds(
        self, module: Any, arguments: Sequence[Any], name: str = "main", **options: Any
    ) -> list[float]:
        """Time a function of a module there.

        Args:
            module: what :meth:`load` returned.
            arguments: what :meth:`tensor` returned.
            name: of the function.
            options: ``number``, ``repeat`` and ``min_repeat_ms`` of TVM's ``time_evaluator``.
        """
        with self.errors():
            timer = module.time_evaluator(name, self._device, **options)
            return list(timer(*arguments).results)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn errors of the connection, and of what runs there, into sentences.

        Raises:
            BoardLost: if the board went away, or what ran there broke its process or took too long.
            HwoptError: if the board says what is wrong.
        """
        try:
            yield
        except tvm.error.RPCSessionTimeoutError as error:
            release()
            raise BoardLost(f"it took too long on the board {self.name}") from error
        except (OSError, tvm.error.InternalError) as error:
            release()
            raise BoardLost(f"the board {self.name} was lost: {last_line(error)}") from error
        except tvm.error.RPCError as error:
            raise HwoptError(f"the board {self.name} says: {last_line(error)}") from error


def request(
    target: Target,
    *,
    seconds: float = SESSION_SECONDS,
    wait: float = WAIT_SECONDS,
    waiting: Callable[[str], None] | None = None,
) -> Board:
    """Return a board of a target whose runner is ``rpc``.

    Args:
        target: its ``tracker`` is asked for a board with its ``key``.
        seconds: after which the board ends the session, whatever runs.
        wait, waiting: see :meth:`hwopt.targets.tracker.Tracker.request`.

    Raises:
        HwoptError: if there is no tracker, or none of its boards was free in time.
    """
    end = time.monotonic() + wait
    while True:
        with Tracker(target.tracker) as tracker:
            offer = tracker.request(
                target.key, wait=max(0.0, end - time.monotonic()), waiting=waiting
            )
        name = f"{target.key} at {offer.host}:{offer.port}"
        try:
            session = rpc.connect(offer.host, offer.port, offer.word, seconds)
            return Board(session, name)
        except (OSError, RuntimeError) as error:
            message = f"no board: {name} does not answer ({last_line(error)}); is its tunnel open?"
        if time.monotonic() > end:
            raise HwoptError(f"{message} Waited {wait:g} s")
        if waiting:
            waiting(message)
        time.sleep(RETRY_SECONDS)


_shared: dict[tuple[str, str], Board] = {}


def shared(target: Target) -> Board:
    """Return the board that this process holds for a target; ask for one if it holds none.

    Raises:
        HwoptError: see :func:`request`.
    """
    key = target.tracker, target.key
    if key not in _shared:
        said: list[str] = []

        def waiting(message: str) -> None:
            if message not in said:
                log.warning("%s; waiting for it", message)
                said.append(message)

        _shared[key] = request(target, waiting=waiting)
    return _shared[key]


def release() -> None:
    """Give all shared boards back: others wait for them."""
    _shared.clear()
