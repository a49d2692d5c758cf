"""Latency is never one number, and never compared across runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

# Threads of one callee that still look for work would take a core from the next one: see
# benchmarks/idle_threads.py.
_STEP_SECONDS = 0.01
_IDLE_SHARE = 0.1
_LONGEST_PAUSE_SECONDS = 1.0
_WARM_SECONDS = 0.02


@dataclass(frozen=True)
class Interval:
    """A median latency, and what it lies in, in milliseconds.

    Of what was measured once that is from the 10th to the 90th percentile of its calls; of what was
    measured beside others, nine of ten medians would lie there if all were measured again.
    """

    median_ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True)
class Latency:
    """The distribution of the wall time of a call, in milliseconds.

    Attributes:
        median_ms, p10_ms, p90_ms: the median and the 10th and 90th percentile.
        mean_ms: the mean, for calls that differ in what they do.
        runs: measured calls.
        warmup: calls before them that were not measured.
        threads: threads that the callee was told to use.
        emulated: whether an emulator ran it: then these are times of no device.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    mean_ms: float
    runs: int
    warmup: int
    threads: int
    emulated: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary."""
        return asdict(self)

    def interval(self, scale: float = 1.0) -> Interval:
        """Return the median and the percentiles, times a number."""
        return Interval(scale * self.median_ms, scale * self.p10_ms, scale * self.p90_ms)

    def __str__(self) -> str:
        spread = f"{self.p10_ms:.3f}–{self.p90_ms:.3f}"
        mark = ", emulated: no device's time" if self.emulated else ""
        return f"{self.median_ms:.3f} ms ({spread}, {self.runs} runs, {self.threads} threads{mark})"


def measure(
    calls: Mapping[str, Callable[[], object]],
    *,
    threads: int,
    runs: int = 200,
    warmup: int = 20,
    block: int = 20,
) -> dict[str, Latency]:
    """Time several calls side by side, in alternating blocks, so that noise hits all alike.

    Args:
        calls: what to time, by name; what has a method ``times_ms`` times itself.
        threads: recorded in the result; the calls must set it themselves.
        runs: measured calls of each.
        warmup: calls of each before measuring.
        block: consecutive calls of one before the next has its turn. Before a block there is a
            pause, until the other's spinning threads have gone to sleep, and a time of calls that
            are not measured: caches fill, and the scheduler gives every thread a core of its own.

    >>> latencies = measure({"sum": lambda: sum(range(1000))}, threads=1, runs=20)
    >>> 0 < latencies["sum"].p10_ms <= latencies["sum"].median_ms
    True
    """
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(warmup):
            call()
    while len(next(iter(samples.values()))) < runs:
        for name, call in calls.items():
            _wait_until_idle()
            warm = time.perf_counter() + _WARM_SECONDS
            while time.perf_counter() < warm:
                call()
            samples[name] += times_ms(call, min(block, runs - len(samples[name])))
    return {
        name: distribution(
            values, warmup, threads, emulated=getattr(calls[name], "emulated", False)
        )
        for name, values in samples.items()
    }


def times_ms(call: Callable[[], object], runs: int) -> list[float]:
    """Return how long each of so many calls takes, in milliseconds, where it runs."""
    if hasattr(call, "times_ms"):
        return list(call.times_ms(runs))
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        found.append((time.perf_counter() - start) * 1e3)
    return found


def _wait_until_idle() -> None:
    """Wait until no thread of this process uses a processor any more."""
    end = time.perf_counter() + _LONGEST_PAUSE_SECONDS
    while time.perf_counter() < end:
        used = time.process_time()
        time.sleep(_STEP_SECONDS)
        if time.process_time() - used < _IDLE_SHARE * _STEP_SECONDS:
            return


def distribution(
    samples: Sequence[float], warmup: int, threads: int, *, emulated: bool = False
) -> Latency:
    """Return the latency of calls that took so many ms."""
    low, median, high = (float(value) for value in np.percentile(samples, [10, 50, 90]))
    mean, runs = float(np.mean(samples)), len(samples)
    return Latency(median, low, high, mean, runs, warmup, threads, emulated)
