"""What the machine can do at most: products of floats or of signs, and bytes a second, measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import s_tir, te, tirx

from hwopt.targets import tvm_build
from hwopt.targets.target import Target
from hwopt.targets.templates.binary import differing
from hwopt.targets.templates.register_tile_space import WORD_BITS
from hwopt.targets.threads import use_threads

# Independent sums that hide the latency of a multiply-add, and leave registers for the factors.
_SUMS = 12
_STEPS = 8192
_REPEATS, _REPEAT_MS = 9, 10
# A working set in the second cache, one in the third, and one in neither.
_IN_L2, _IN_L3, _IN_MEMORY = 0.25, 4.0, 128 * 2**20


@dataclasses.dataclass(frozen=True)
class Peak:
    """Upper limits of kernels with the target's threads.

    Attributes:
        gflops: 10^9 float32 operations a second; a multiply-add counts as two.
        binary_gops: 10^9 operations on signs a second, as bits that are counted; a product and
            its addition count as two.
        bandwidths: (largest working set in bytes, 10^9 bytes read and written a second), the
            smallest working set first.
    """

    gflops: float
    binary_gops: float
    bandwidths: tuple[tuple[int, float], ...]

    def bandwidth(self, size: int) -> float:
        """Return the limit for a kernel that touches ``size`` bytes, in 10^9 bytes a second.

        >>> Peak(100.0, 1000.0, ((1000, 50.0), (2000, 20.0))).bandwidth(1500)
        20.0
        """
        for largest, bandwidth in self.bandwidths:
            if size <= largest:
                return bandwidth
        return self.bandwidths[-1][1]


def measure_peak(target: Target) -> Peak:
    """Measure this machine as ``target`` describes it; takes about two seconds."""
    use_threads(target.threads)
    sizes = (
        (target.threads * target.l2_bytes, int(target.threads * target.l2_bytes * _IN_L2)),
        (_IN_MEMORY // 4, int(target.threads * target.l2_bytes * _IN_L3)),
        (_IN_MEMORY, _IN_MEMORY),
    )
    return Peak(
        _giga_operations(target, "float32", lambda first, second: first * second),
        _giga_operations(target, "uint32", differing) * WORD_BITS,
        tuple((largest, _bandwidth(target, size)) for largest, size in sizes),
    )


def _giga_operations(target: Target, dtype: str, product: Callable[[Any, Any], Any]) -> float:
    """Time sums of products whose operands stay in registers; both count."""
    lanes, threads = target.float_lanes, target.threads
    factors = te.placeholder((threads, _SUMS, lanes), dtype, name="factors")
    steps = te.placeholder((_STEPS,), dtype, name="steps")
    k = te.reduce_axis((0, _STEPS), name="k")
    sums = te.compute(
        (threads, _SUMS, lanes),
        lambda t, j, v: te.sum(product(factors[t, j, v], steps[k]), axis=[k]),
        name="sums",
    )
    schedule = s_tir.Schedule(te.create_prim_func([factors, steps, sums]))
    block = schedule.get_sblock("sums")
    local = schedule.cache_write(block, 0, "local")
    thread = schedule.get_loops(local)[0]
    schedule.compute_at(block, thread)
    *_, j, v, k_loop = schedule.get_loops(block)
    schedule.reorder(k_loop, j, v)
    schedule.unroll(j)
    schedule.vectorize(v)
    schedule.parallel(thread)
    schedule.decompose_reduction(block, k_loop)
    seconds = _time(schedule, target)
    return 2 * threads * _SUMS * lanes * _STEPS / seconds / 1e9


def _bandwidth(target: Target, size: int) -> float:
    """Time a scaled copy whose source and destination together have ``size`` bytes."""
    lanes = target.float_lanes
    rows = max(target.threads, size // (2 * 4 * lanes * 64))
    shape = (rows, 64, lanes)
    source = te.placeholder(shape, "float32", name="source")
    copy = te.compute(shape, lambda *i: source(*i) * tirx.const(0.5, "float32"), name="copy")
    schedule = s_tir.Schedule(te.create_prim_func([source, copy]))
    row, _, lane = schedule.get_loops(schedule.get_sblock("copy"))
    schedule.vectorize(lane)
    schedule.parallel(row)
    return 2 * int(np.prod(shape)) * 4 / _time(schedule, target) / 1e9


def _time(schedule: s_tir.Schedule, target: Target) -> float:
    """Return the least seconds of one call on random data."""
    func = tvm_build.mark_scheduled(schedule)
    built: Any = tvm_build.build_kernel(func, target)
    random = np.random.default_rng(0)
    values = []
    for param in func.params:
        drawn = 1000 * random.random([int(size) for size in param.ty.shape])
        values.append(tvm.runtime.tensor(drawn.astype(param.ty.dtype.dtype)))
    timer = built.time_evaluator(
        "main", tvm.cpu(), number=1, repeat=_REPEATS, min_repeat_ms=_REPEAT_MS
    )
    return float(min(timer(*values).results))
