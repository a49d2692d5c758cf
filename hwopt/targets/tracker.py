"""What hands out boards: TVM's tracker, asked over its socket.

A tracker gives servers of one key away, each to one client at a time. The protocol knows no
passwords: whoever reaches a server runs code on it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tvm.rpc.base import RPC_TRACKER_MAGIC, TrackerCode, recvall, recvjson, sendjson

from hwopt.errors import HwoptError
from hwopt.targets.address import parse_address

#: How long a tracker may take to answer.
ANSWER_SECONDS = 10.0
#: It is asked again for a board that is not free after so long at first, and at last.
FIRST_PAUSE_SECONDS, PAUSE_SECONDS = 0.02, 0.5
#: How long a board that is away, or busy, is waited for.
WAIT_SECONDS = 600.0


class BoardLost(HwoptError):
    """A board went away, or what ran there broke its process, or took too long."""


class Listing(NamedTuple):
    """A key of a tracker: its servers' addresses, and how many of them are free."""

    key: str
    addresses: tuple[str, ...]
    free: int


class Offer(NamedTuple):
    """A server that is kept for this client, and the word that it is asked with."""

    host: str
    port: int
    word: str


class Tracker:
    """A connection to a tracker; use it as a context manager.

    Raises:
        HwoptError: if there is no tracker at the address ``HOST:PORT``, or it does not answer.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._where = parse_address(address)
        self._connect()

    def _connect(self) -> None:
        with self._errors(), contextlib.ExitStack() as until_known:
            self._socket = socket.create_connection(self._where, ANSWER_SECONDS)
            until_known.enter_context(self._socket)
            self._socket.sendall(struct.pack("<i", RPC_TRACKER_MAGIC))
            if struct.unpack("<i", recvall(self._socket, 4))[0] != RPC_TRACKER_MAGIC:
                raise OSError("what answers is no tracker")
            until_known.pop_all()

    def __enter__(self) -> Tracker:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the connection."""
        self._socket.close()

    def listings(self) -> list[Listing]:
        """Return what the tracker knows, by key."""
        found = self._ask(TrackerCode.SUMMARY)
        servers: dict[str, list[str]] = {}
        for server in found["server_info"]:
            key = server["key"].removeprefix("server:")
            servers.setdefault(key, []).append(":".join(map(str, server["addr"])))
        return [
            Listing(key, tuple(sorted(addresses)), found["queue_info"].get(key, {}).get("free", 0))
            for key, addresses in sorted(servers.items())
        ]

    def request(
        self,
        key: str,
        *,
        wait: float = WAIT_SECONDS,
        waiting: Callable[[str], None] | None = None,
    ) -> Offer:
        """Return a server that is free.

        Args:
            key: of the boards.
            wait: how many seconds to wait while all are away or busy.
            waiting: told, again and again meanwhile, what is waited for.

        Raises:
            HwoptError: if none was free in time, or the tracker is gone.
        """
        end = time.monotonic() + wait
        while True:
            self.wait_for(key, wait=max(0.0, end - time.monotonic()), waiting=waiting)
            try:
                return Offer(*self._exchange(TrackerCode.REQUEST, key, "", 1))
            except TimeoutError:
                # Somebody else was faster: begin again, also for the tracker.
                self._socket.close()
                self._connect()
            except (OSError, ValueError, struct.error) as error:
                raise self._gone(error) from error

    def wait_for(
        self,
        key: str,
        *,
        wait: float = WAIT_SECONDS,
        waiting: Callable[[str], None] | None = None,
    ) -> None:
        """Return when a server is free; see :meth:`request`.

        Raises:
            HwoptError: if none is after ``wait`` seconds, or the tracker does not answer.
        """
        end, pause = time.monotonic() + wait, FIRST_PAUSE_SECONDS
        while True:
            listing = next((one for one in self.listings() if one.key == key), None)
            if listing is not None and listing.free:
                return
            state = "all are busy" if listing else "there is none"
            message = f"no board with the key {key!r} at the tracker {self.address}: {state}"
            if time.monotonic() > end:
                advice = f"start `hwopt devices serve --key {key}` on the board"
                raise HwoptError(f"{message} (waited {wait:.0f} s); {advice}")
            if waiting:
                waiting(message)
            time.sleep(pause)
            pause = min(PAUSE_SECONDS, 1.5 * pause)

    def _ask(self, *message: Any) -> Any:
        with self._errors():
            return self._exchange(*message)

    def _exchange(self, *message: Any) -> Any:
        sendjson(self._socket, list(message))
        code, *answer = recvjson(self._socket)
        if code != TrackerCode.SUCCESS:
            raise OSError(f"it answers {answer}")
        return answer[0]

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, struct.error) as error:
            raise self._gone(error) from error

    def _gone(self, error: Exception) -> HwoptError:
        return HwoptError(
            f"no tracker answers at {self.address} ({error}): start one with "
            "`hwopt devices track`, or give the address of another"
        )
