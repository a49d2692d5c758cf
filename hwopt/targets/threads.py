"""The number of threads that TVM runs kernels with, set explicitly."""

from __future__ import annotations

import os

from hwopt.targets.host import usable_cores
from hwopt.targets.runtime import load_runtime

#: How often an idle thread of TVM looks for work before it sleeps. TVM's own number is 300 times
#: larger, and meanwhile all else in the process has a core less (benchmarks/idle_threads.py).
SPIN_COUNT = 1000
#: TVM's name for cores of the fast kind; on machines with one kind it means all of them.
_BIG_CORES = 1


def use_threads(count: int) -> int:
    """Let TVM run kernels with ``count`` threads in this process; return what it grants.

    TVM sizes its pool once, when the first kernel runs, and by itself to half of the processors
    it sees. The pool is therefore asked for all usable cores, and ``count`` of them are used.
    The grant is smaller than ``count`` where the pool exists already or cores are missing.
    """
    os.environ.setdefault("TVM_NUM_THREADS", str(max(count, usable_cores())))
    os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", str(SPIN_COUNT))
    runtime = load_runtime()
    runtime.get_global_func("runtime.config_threadpool")(_BIG_CORES, count)
    return int(runtime.get_global_func("runtime.NumThreads")())
