"""The process that builds and times candidates: ``python -m hwopt.targets.worker``.

It reads one JSON request a line from standard input: one kernel and some of its candidates. They
are built together, on all cores, and then timed one after the other with nothing beside them; it
answers with one line a candidate. Lines of progress before and between show that it is at work. A
candidate that crashes or hangs takes this process with it, and nothing else.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import json
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from typing import Any

# A candidate that one quick timing finds this much slower than the best is not timed further.
HOPELESS = 1.6
QUICK_REPEATS = 3
QUICK_MS = 2
# Finalists are timed in so many turns.
TURNS = 5
# Key of the lines that are no answers.
PROGRESS = "progress"


class Kernel:
    """A kernel and those of its candidates that were built; a candidate is built once."""

    def __init__(self, request: dict[str, Any]) -> None:
        import tvm

        from hwopt.targets import templates
        from hwopt.targets.target import Target

        self.source: str = request["module"]
        self._func = tvm.ir.load_json(self.source)["main"]
        self._target = Target(**request["target"])
        self._template = templates.by_name(request["template"])
        self._built: dict[str, Any] = {}
        self._arguments: list[Any] = []

    def build(self, configs: Sequence[dict[str, int]]) -> None:
        """Build the candidates, as many at a time as there are cores; keep errors as results."""
        missing = [config for config in configs if _key(config) not in self._built]
        with concurrent.futures.ThreadPoolExecutor(self._target.cores) as pool:
            for config, built in zip(missing, pool.map(self._build, missing), strict=True):
                self._built[_key(config)] = built

    def _build(self, config: dict[str, int]) -> Any:
        from hwopt.targets import tvm_build

        try:
            scheduled = self._template.schedule(self._func, config, self._target)
            built = tvm_build.build_kernel(scheduled, self._target)
            built.get_function("main")  # LLVM emits machine code when it is first asked for
            return built
        except Exception as error:  # whatever is wrong is wrong with this candidate only
            return error

    def time(
        self, config: dict[str, int], repeats: int, repeat_ms: int, best_us: float | None
    ) -> list[float]:
        """Time a candidate that was built; return seconds of one call, one for each repeat."""
        import tvm

        built = self._built[_key(config)]
        if isinstance(built, Exception):
            raise built
        self._arguments = self._arguments or _arguments(self._func)
        quick = built.time_evaluator(
            "main", tvm.cpu(), number=1, repeat=QUICK_REPEATS, min_repeat_ms=QUICK_MS
        )
        times = list(quick(*self._arguments).results)
        if best_us is not None and min(times) * 1e6 > HOPELESS * best_us:
            return times
        timer = built.time_evaluator(
            "main", tvm.cpu(), number=1, repeat=repeats, min_repeat_ms=repeat_ms
        )
        return list(timer(*self._arguments).results)


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
    if best is None:
        yield from _in_turns(kernel, request)
        return
    for config in configs:
        try:
            seconds = kernel.time(config, request["repeats"], request["repeat_ms"], best)
        except Exception as error:  # whatever is wrong is wrong with this candidate only
            yield _failure(error)
            continue
        best = min(best, min(seconds) * 1e6)
        yield _summary(seconds)


def _in_turns(kernel: Kernel, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Time candidates in turns, so that a slow moment of the machine hits all alike."""
    configs, count = request["configs"], min(TURNS, request["repeats"])
    seconds: list[list[float]] = [[] for _ in configs]
    failures: dict[int, Exception] = {}
    for _ in range(count):
        for number, config in enumerate(configs):
            try:
                seconds[number] += kernel.time(
                    config, request["repeats"] // count, request["repeat_ms"], None
                )
            except Exception as error:  # as above
                failures[number] = error
            yield {PROGRESS: "timed"}
    for number, times in enumerate(seconds):
        yield _failure(failures[number]) if number in failures else _summary(times)


def _key(config: dict[str, int]) -> str:
    return json.dumps(config, sort_keys=True)


def _summary(seconds: Sequence[float]) -> dict[str, Any]:
    return {
        "median_us": statistics.median(seconds) * 1e6,
        "fastest_us": min(seconds) * 1e6,
        "runs": len(seconds),
    }


def _failure(error: Exception) -> dict[str, Any]:
    return {"error": f"{type(error).__name__}: {str(error).strip()[-300:]}"}


def _arguments(func: Any) -> list[Any]:
    """Return tensors of random values for the parameters of a kernel."""
    import numpy as np

    random = np.random.default_rng(0)
    return [_argument(param.ty, random) for param in func.params]


def _argument(buffer: Any, random: Any) -> Any:
    """Return a tensor of random values for one parameter of a kernel."""
    import tvm

    shape = [int(size) for size in buffer.shape]
    dtype = str(getattr(buffer.dtype, "dtype", buffer.dtype))
    if dtype.startswith("float"):
        values = random.standard_normal(shape).astype(dtype)
    else:
        values = random.integers(0, 2, shape).astype(dtype)
    return tvm.runtime.tensor(values)


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
