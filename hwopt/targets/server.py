"""What runs on a board, ``python -m hwopt.targets.server`` or ``hwopt devices serve``; the tracker.

They need TVM and nothing else. TVM's own server, ``python -m tvm.exec.rpc_server``, speaks the same
protocol, but ends for good when a kernel crashes the process that it serves with; this one goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import ipaddress
import logging
import os
import socket
import sys
import time
from pathlib import Path

from hwopt.errors import HwoptError, first_line
from hwopt.targets.address import parse_address
from hwopt.targets.probe import FACTS, facts

log = logging.getLogger("hwopt.devices")

LOOPBACK = "127.0.0.1"
PORT, PORTS = 9100, 100
#: Before a board connects to its tracker, also when it lost it.
PAUSE_SECONDS = 0.5
WARNING = (
    "whoever reaches {host}:{port} can run any code, since the protocol knows no passwords: "
    "better stay on 127.0.0.1 and go through a tunnel (docs/devices.md)"
)


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(
    tracker: str, key: str, *, host: str = LOOPBACK, port: int = PORT, threads: int | None = None
) -> None:
    """Offer this machine to a tracker until the process ends; one client at a time.

    Args:
        tracker: its address, ``HOST:PORT``; it is waited for.
        key: the name that clients ask the tracker for.
        host, port: what clients connect to; the next free port if it is taken.
        threads: of kernels, for clients that do not say how many; None leaves that to TVM.

    Raises:
        HwoptError: if no port is free, or the address is not this machine's.
    """
    if threads is not None:
        os.environ["TVM_NUM_THREADS"] = str(threads)
    where = parse_address(tracker)
    import tvm_ffi
    from tvm.rpc import server

    server.base.connect_with_retry = _connect

    tvm_ffi.register_global_func(FACTS, facts, override=True)
    listening = listen(host, port, PORTS)
    port = listening.getsockname()[1]
    if not is_loopback(host):
        log.warning(WARNING.format(host=host, port=port))
    log.info("serving as %r on %s:%d, for the tracker %s", key, host, port, tracker)
    # Through a tunnel both ends are at the loopback address; otherwise the tracker sees the other.
    reported = LOOPBACK if is_loopback(host) else None
    here = Path.cwd()
    while True:
        try:
            server._listen_loop(listening, port, key, where, None, reported)
        except RuntimeError as error:
            # The child that served a client is gone, or the tracker: begin again.
            log.warning("%s", first_line(error))
            os.chdir(here)  # a client's folder is gone with it


def _connect(address: tuple[str, int], **_: object) -> socket.socket:
    """Connect to a tracker, some time: TVM's loop asks again at once, whatever went wrong."""
    time.sleep(PAUSE_SECONDS)
    return socket.create_connection(address, timeout=None)


def track(listening: socket.socket) -> None:
    """Hand out boards until the process ends, to whoever asks on a socket of :func:`listen`."""
    from tvm.rpc import tracker

    host, port = listening.getsockname()
    if not is_loopback(host):
        log.warning(WARNING.format(host=host, port=port))
    log.info("tracker on %s:%d", host, port)
    asyncio.set_event_loop(asyncio.new_event_loop())
    tracker.TrackerServerHandler(listening, stop_key="").run()


def listen(host: str, port: int, ports: int = 1) -> socket.socket:
    """Return a socket on the first of some ports that is free.

    Raises:
        HwoptError: if all are taken, or the address is not this machine's.
    """
    for number in range(port, port + ports):
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, number))
        except OSError as error:
            listening.close()
            if error.errno == errno.EADDRINUSE:
                continue
            raise HwoptError(f"cannot listen on {host}:{number}: {error.strerror}") from None
        listening.listen(1)
        return listening
    taken = f"port {port} is" if ports == 1 else f"ports {port} to {port + ports - 1} are"
    raise HwoptError(f"{taken} taken on {host}: give another with --port")


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(description="Offer this machine to a tracker.")
    parser.add_argument("--tracker", required=True, help="HOST:PORT")
    parser.add_argument("--key", required=True)
    parser.add_argument("--host", default=LOOPBACK)
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        serve(
            options.tracker,
            options.key,
            host=options.host,
            port=options.port,
            threads=options.threads,
        )
    except HwoptError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
