"""Candidates of a kernel: built together, on all cores, and then timed in full or in turns."""

from __future__ import annotations

import concurrent.futures
import functools
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from hwopt.targets.tracker import BoardLost

# A candidate that one quick timing finds this much slower than the best is not timed further.
HOPELESS = 1.6
QUICK_REPEATS = 3
QUICK_MS = 2
# Finalists are timed in so many turns.
TURNS = 5
#: Takes ``number``, ``repeat`` and ``min_repeat_ms`` of TVM's ``time_evaluator``; returns seconds.
Timer = Callable[..., list[float]]
# Key of the lines that are no answers.
PROGRESS = "progress"
# Key of the answer after which there are no others: no board can be had.
LOST = "lost"


class NotBuilt(Exception):
    """Says why a candidate could not be built."""


class Kernel:
    """A kernel and those of its candidates that were built; a candidate is built once."""

    def __init__(self, request: dict[str, Any]) -> None:
        import tvm

        from hwopt.targets import templates
        from hwopt.targets.target import Target

        self.source: str = request["module"]
        self._func = tvm.ir.load_json(self.source)["main"]
        self.target = Target(**request["target"])
        self._template = templates.by_name(request["template"])
        self._built: dict[str, Any] = {}
        self._tensors: list[Any] = []

    def build(self, configs: Sequence[dict[str, int]]) -> None:
        """Build the candidates, as many at a time as there are cores; keep errors as results."""
        from hwopt.targets.host import usable_cores

        missing = [config for config in configs if _key(config) not in self._built]
        with concurrent.futures.ThreadPoolExecutor(usable_cores()) as pool:
            for config, built in zip(missing, pool.map(self._build, missing), strict=True):
                self._built[_key(config)] = built

    def _build(self, config: dict[str, int]) -> Any:
        from hwopt.targets import tvm_build

        try:
            scheduled = self._template.schedule(self._func, config, self.target)
            built = tvm_build.build_kernel(scheduled, self.target)
            if self.target.runner == "local":
                built.get_function("main")  # LLVM emits machine code when it is first asked for
            return built
        except Exception as error:  # whatever is wrong is wrong with this candidate only
            return NotBuilt(failure(error)["error"])

    def built(self, config: dict[str, int]) -> Any:
        """Return a candidate that was built, as TVM's module; raise what went wrong."""
        built = self._built[_key(config)]
        if isinstance(built, NotBuilt):
            raise NotBuilt(str(built))  # anew: an exception holds on to all that it passed through
        return built

    @functools.cached_property
    def arguments(self) -> list[np.ndarray]:
        """Random values for the parameters."""
        random = np.random.default_rng(0)
        return [_argument(param.ty, random) for param in self._func.params]

    def timer(self, config: dict[str, int]) -> Timer:
        """Return what times a candidate here."""
        import tvm

        built = self.built(config)
        self._tensors = self._tensors or [tvm.runtime.tensor(value) for value in self.arguments]

        def seconds(**options: int) -> list[float]:
            timer = built.time_evaluator("main", tvm.cpu(), **options)
            return list(timer(*self._tensors).results)

        return seconds


def times(timer: Timer, request: dict[str, Any], best_us: float | None) -> list[float]:
    """Return seconds of one call, one for each repeat; of what is hopeless only a few.

    Args:
        timer: of a candidate.
        request: ``repeats`` and ``repeat_ms``.
        best_us: the fastest so far; None times in full.
    """
    quick = timer(number=1, repeat=QUICK_REPEATS, min_repeat_ms=QUICK_MS)
    if best_us is not None and min(quick) * 1e6 > HOPELESS * best_us:
        return quick
    return timer(number=1, repeat=request["repeats"], min_repeat_ms=request["repeat_ms"])


def in_turns(
    timer: Callable[[dict[str, int]], Timer], request: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Time candidates in turns, so that a slow moment of the machine hits all alike.

    Yields progress, and then the answers.
    """
    configs, count = request["configs"], min(TURNS, request["repeats"])
    part = {**request, "repeats": request["repeats"] // count}
    timers: dict[int, Timer] = {}
    seconds: list[list[float]] = [[] for _ in configs]
    failures: dict[int, Exception] = {}
    for _ in range(count):
        for number, config in enumerate(configs):
            try:
                if number not in timers:
                    timers[number] = timer(config)
                seconds[number] += times(timers[number], part, None)
            except BoardLost:
                raise  # with all of them
            except Exception as error:  # as above
                failures[number] = error
            yield {PROGRESS: "timed"}
    for number, found in enumerate(seconds):
        yield failure(failures[number]) if number in failures else summary(found)


def _key(config: dict[str, int]) -> str:
    return json.dumps(config, sort_keys=True)


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Return the answer of a candidate that was timed."""
    return {
        "median_us": statistics.median(seconds) * 1e6,
        "fastest_us": min(seconds) * 1e6,
        "runs": len(seconds),
    }


def failure(error: Exception) -> dict[str, Any]:
    """Return the answer of a candidate that failed."""
    if isinstance(error, NotBuilt):
        return {"error": str(error)}
    return {"error": f"{type(error).__name__}: {str(error).strip()[-300:]}"}


def _argument(buffer: Any, random: np.random.Generator) -> np.ndarray:
    """Return random values for one parameter of a kernel."""
    shape = [int(size) for size in buffer.shape]
    dtype = str(getattr(buffer.dtype, "dtype", buffer.dtype))
    if dtype.startswith("float"):
        return random.standard_normal(shape).astype(dtype)
    return random.integers(0, 2, shape).astype(dtype)
