"""The number of threads that TVM runs kernels with, set explicitly."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hwopt.targets.host import usable_cores
from hwopt.targets.runtime import load_runtime

#: How often an idle thread of TVM looks for work before it sleeps. TVM's own number is 300 times
#: larger, and meanwhile all else in the process has a core less (benchmarks/idle_threads.py).
SPIN_COUNT = 1000
#: TVM's name for cores of the fast kind; on machines with one kind it means all of them.
_BIG_CORES = 1


class _Here(threading.local):
    """What holds for the thread of Python that calls: TVM has a pool of threads for each.

    Attributes:
        used: threads that were asked for last, and granted.
        forks: how often the process had been forked when the pool began; -1 before.
    """

    used = (0, 0)
    forks = -1


_here = _Here()
#: How often this process, or one that it comes from, was forked.
_forks = [0]
#: In a process that was forked: what calls kernels there, by the number of forks.
_callers: dict[int, ThreadPoolExecutor] = {}


def _count_fork() -> None:
    _forks[0] += 1


os.register_at_fork(after_in_child=_count_fork)


def environment(count: int) -> dict[str, str]:
    """Return what to set for another process that runs kernels with ``count`` threads."""
    return {
        # Without it TVM takes half of the cores that it sees for hyper-threads.
        "TVM_NUM_THREADS": str(count),
        "TVM_THREAD_POOL_SPIN_COUNT": str(SPIN_COUNT),
        "OMP_NUM_THREADS": str(count),
    }


def use_threads(count: int) -> int:
    """Let TVM run kernels with ``count`` threads in this process; return what it grants.

    The number holds for the thread of Python that calls, so whoever runs kernels says it each time;
    saying what holds already costs nothing.

    TVM sizes its pool once, when the first kernel runs, and by itself to half of the processors
    it sees. The pool is therefore asked for all usable cores, and ``count`` of them are used.
    The grant is smaller than ``count`` where the pool exists already or cores are missing.
    """
    if _here.used[0] != count:
        for name, value in environment(max(count, usable_cores())).items():
            if name.startswith("TVM"):
                os.environ.setdefault(name, value)
        _here.used = count, granted(load_runtime().get_global_func, count)
    return _here.used[1]


def is_ready(count: int) -> bool:
    """Say whether ``count`` threads are asked for here already, and their pool lives."""
    return _here.used[0] == count and _here.forks == _forks[0]


def has_pool() -> bool:
    """Say whether this thread of Python may call kernels: its pool is no other process's.

    The threads of a pool do not live on in a forked process, and who waits for them waits for
    ever: see :func:`call_elsewhere`.
    """
    if _here.forks == -1:
        _here.forks = _forks[0]
    return _here.forks == _forks[0]


def call_elsewhere(function: Callable[[], None]) -> None:
    """Call what runs kernels in a new thread of Python, which has a pool of its own."""
    forks = _forks[0]
    if forks not in _callers:
        _callers[forks] = ThreadPoolExecutor(1, "hwopt-kernels")
    _callers[forks].submit(function).result()


def granted(function: Callable[[str], Any], count: int) -> int:
    """Ask a runtime, of this process or of a board, for ``count`` threads; return what it grants.

    Args:
        function: from the name of a function of the runtime to it.
        count: of threads.
    """
    function("runtime.config_threadpool")(_BIG_CORES, count)
    return int(function("runtime.NumThreads")())
