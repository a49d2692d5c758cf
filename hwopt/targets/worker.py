"""The process that builds and times candidates: ``python -m hwopt.targets.worker``.

It reads one JSON request a line from standard input: one kernel and some of its candidates. They
are built together, on all cores, and then timed one after the other with nothing beside them; it
answers with one line a candidate. Lines of progress before and between show that it is at work. A
candidate that crashes or hangs takes this process with it, and nothing else.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from hwopt.targets.board_worker import measure_on_boards
from hwopt.targets.candidates import PROGRESS, Kernel, failure, in_turns, summary, times


def measure(kernel: Kernel, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield for each candidate its times or ``error``, and progress before and between.

    Args:
        kernel: the request's kernel.
        request: ``configs``, ``repeats``, ``repeat_ms``, and ``best_us`` (the fastest so far, or
            None: then all candidates are timed in full, in turns).
    """
    configs, best = request["configs"], request["best_us"]
    kernel.build(configs)
    yield {PROGRESS: "built"}
    if kernel.target.runner == "rpc":
        yield from measure_on_boards(kernel, request)
    elif best is None:
        yield from in_turns(kernel.timer, request)
    else:
        for config in configs:
            try:
                seconds = times(kernel.timer(config), request, best)
            except Exception as error:  # whatever is wrong is wrong with this candidate only
                yield failure(error)
                continue
            best = min(best, min(seconds) * 1e6)
            yield summary(seconds)


def main() -> None:
    """Answer requests until standard input ends."""
    # The answers keep standard output for themselves: what libraries print goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(line: dict[str, Any]) -> None:
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    importlib.import_module("hwopt.targets.templates")
    answer({PROGRESS: "started"})
    kernel: Kernel | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if kernel is None or kernel.source != request["module"]:
            kernel = Kernel(request)
        for found in measure(kernel, request):
            answer(found)


if __name__ == "__main__":
    main()
