"""Addresses of trackers, boards and clusters."""

from __future__ import annotations

from hwopt.errors import HwoptError


def parse_address(text: str, of: str = "a tracker") -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``.

    Raises:
        HwoptError: if it is none; ``of`` says whose address it should be.

    >>> parse_address("127.0.0.1:9190")
    ('127.0.0.1', 9190)
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise HwoptError(f"the address of {of} is HOST:PORT, not {text!r}")
    return host, int(port)
