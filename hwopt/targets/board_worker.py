"""Times candidates on boards: as many side by side as the tracker has of a kind.

Every candidate has a session of its own, so that one that crashes or hangs takes nothing with it. A
board that goes away in the middle leaves its candidate to the next.
"""

from __future__ import annotations

import concurrent.futures
import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from hwopt.errors import HwoptError
from hwopt.targets import boards
from hwopt.targets.boards import Board, BoardLost
from hwopt.targets.candidates import (
    LOST,
    PROGRESS,
    Kernel,
    Timer,
    failure,
    in_turns,
    summary,
    times,
)
from hwopt.targets.tracker import Tracker

#: How long a candidate may take on a board, its way there included.
SESSION_SECONDS = 60.0
#: A session that is not over so long after its end never will be.
GRACE_SECONDS = 30.0
#: A candidate that loses so many boards is at fault itself.
ATTEMPTS = 2
#: How often it is said that work goes on.
PROGRESS_SECONDS = 1.0


class _Progress:
    """What the boards are at, and the fastest so far; all threads write it."""

    def __init__(self, best_us: float) -> None:
        self.state, self.best_us = "timing", best_us
        #: When what runs must have ended, by the thread that runs it.
        self.ends: dict[int, float] = {}

    def waiting(self, message: str) -> None:
        """Keep what is waited for."""
        self.state = message

    def hangs(self) -> bool:
        """Return whether a board answers no more: it would have ended the session itself."""
        return any(time.monotonic() > end for end in [*self.ends.values()])


def measure_on_boards(kernel: Kernel, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield answers as :func:`hwopt.targets.worker.measure` does, in the order of the request.

    What goes wrong is an answer, too.
    """
    configs, best_us = request["configs"], request["best_us"]
    progress = _Progress(best_us or 0.0)
    if best_us is None:
        # Those that are compared in full are so on one board.
        jobs = [functools.partial(_all_in_turns, kernel, request, progress)]
    else:
        jobs = [functools.partial(_one, kernel, config, request, progress) for config in configs]
    try:
        with Tracker(kernel.target.tracker) as tracker:
            known = [one for one in tracker.listings() if one.key == kernel.target.key]
        count = max(1, sum(len(one.addresses) for one in known))
        pool = concurrent.futures.ThreadPoolExecutor(count)
        try:
            for job in [pool.submit(job) for job in jobs]:
                while not concurrent.futures.wait([job], PROGRESS_SECONDS).done:
                    if progress.hangs():
                        raise HwoptError(f"a board {kernel.target.key!r} answers no more")
                    yield {PROGRESS: progress.state}
                yield from job.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    except HwoptError as error:
        yield {LOST: str(error)}


def _one(
    kernel: Kernel, config: dict[str, int], request: dict[str, Any], progress: _Progress
) -> list[dict[str, Any]]:
    """Time one candidate."""

    def on(board: Board) -> list[dict[str, Any]]:
        seconds = times(_timer(kernel, board, config), request, progress.best_us)
        progress.best_us = min(progress.best_us, min(seconds) * 1e6)
        return [summary(seconds)]

    return _attempts(kernel, on, 1, request, progress)


def _all_in_turns(
    kernel: Kernel, request: dict[str, Any], progress: _Progress
) -> list[dict[str, Any]]:
    """Time all candidates in full."""
    count = len(request["configs"])

    def on(board: Board) -> list[dict[str, Any]]:
        lines = in_turns(functools.partial(_timer, kernel, board), request)
        return [line for line in lines if PROGRESS not in line]

    return _attempts(kernel, on, count, request, progress)


def _attempts(
    kernel: Kernel,
    on: Callable[[Board], list[dict[str, Any]]],
    count: int,
    request: dict[str, Any],
    progress: _Progress,
) -> list[dict[str, Any]]:
    """Run something for so many candidates on a board; on the next one if it is lost.

    Raises:
        HwoptError: if no board can be had, also after the last one was lost: then the candidates
            may be without fault.
    """
    ask = functools.partial(
        boards.request,
        kernel.target,
        seconds=count * SESSION_SECONDS,
        wait=request["board_seconds"],
        waiting=progress.waiting,
    )
    for _ in range(ATTEMPTS):
        found = _attempt(ask(), on, count, kernel, progress)
        if isinstance(found, list):
            return found
    ask()
    return [{"error": found}] * count


def _attempt(
    board: Board,
    on: Callable[[Board], list[dict[str, Any]]],
    count: int,
    kernel: Kernel,
    progress: _Progress,
) -> list[dict[str, Any]] | str:
    """Run something on a board; return why, if it was lost.

    The words, not the exception: that would hold on to the board.
    """
    thread = threading.get_ident()
    progress.state = "timing"
    progress.ends[thread] = time.monotonic() + count * SESSION_SECONDS + GRACE_SECONDS
    try:
        board.use_threads(kernel.target.threads)
        return on(board)
    except BoardLost as error:
        return str(error)
    except Exception as error:  # whatever is wrong is wrong with these candidates only
        return [failure(error)] * count
    finally:
        del progress.ends[thread]


def _timer(kernel: Kernel, board: Board, config: dict[str, int]) -> Timer:
    """Send a candidate to a board; return what times it there."""
    module = board.load_module(kernel.built(config), kernel.target)
    if kernel not in board.kept:
        board.kept[kernel] = [board.tensor(value) for value in kernel.arguments]
    return functools.partial(board.seconds, module, board.kept[kernel])
