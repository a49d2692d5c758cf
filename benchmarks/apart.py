"""A function in a process of its own, which may crash or hang."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any


class Ended(Exception):
    """The process ended without a result, or was too slow; the text says how."""


def apart(function: Callable[..., Any], *arguments: Any, seconds: float) -> Any:
    """Return what a function returns in a forked process.

    Args:
        function: its result can be pickled, and it raises nothing.
        arguments: of the function.
        seconds: after which the process is killed.

    Raises:
        Ended: if there is no result.
    """
    receive, send = multiprocessing.Pipe(duplex=False)
    target = multiprocessing.get_context("fork").Process(
        target=lambda: send.send(function(*arguments))
    )
    target.start()
    send.close()
    try:
        if receive.poll(seconds):
            return receive.recv()
        raise Ended(f"not done in {seconds:.0f} s")
    except EOFError:
        target.join()
        raise Ended(f"the process ended with {target.exitcode}") from None
    finally:
        target.kill()
        target.join()
