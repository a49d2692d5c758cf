"""A tracker and boards on loopback, real processes all, for tests."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from hwopt import targets
from hwopt.targets.server import listen, track
from hwopt.targets.tracker import Tracker

SERVER = (sys.executable, "-m", "hwopt.targets.server")


@dataclasses.dataclass
class Farm:
    """A tracker in this process, and the processes that serve."""

    tracker: str
    servers: list[subprocess.Popen[bytes]]

    def target(self, key: str, **changes: object) -> targets.Target:
        """Return this machine, reached as a board, with one thread."""
        host = targets.get("host", threads=1)
        reached = {"runner": "rpc", "tracker": self.tracker, "key": key}
        return dataclasses.replace(host, name=f"board-{key}", **reached, **changes)

    def serve(self, key: str, count: int = 1, command: tuple[str, ...] = SERVER) -> None:
        """Start so many boards, and wait until the tracker knows them."""
        options = ["--tracker", self.tracker, "--key", key, "--threads", "1"]
        self.servers += [subprocess.Popen([*command, *options]) for _ in range(count)]
        self.wait_for(key, count)

    def wait_for(self, key: str, count: int, seconds: float = 120) -> None:
        """Wait until so many boards are free."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with Tracker(self.tracker) as tracker:
                if sum(one.free for one in tracker.listings() if one.key == key) == count:
                    return
            time.sleep(0.2)
        raise TimeoutError(f"no {count} boards with the key {key} within {seconds:g} s")


@contextlib.contextmanager
def farm() -> Iterator[Farm]:
    """Start a tracker on a free port; end all servers with the block."""
    listening = listen("127.0.0.1", 9400, 200)
    threading.Thread(target=track, args=[listening], daemon=True).start()
    found = Farm(f"127.0.0.1:{listening.getsockname()[1]}", [])
    try:
        yield found
    finally:
        for server in found.servers:
            server.kill()
            server.wait()
