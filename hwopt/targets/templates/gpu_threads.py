"""Kernels for GPUs: a thread computes one element of the result.

TVM's default schedule for GPUs does it: what maps values is computed where it is read, the loops
over a result become blocks of threads, and sums are loops of a thread. Blocks that remain run one
after the other, each as a launch of its own.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from tvm import s_tir, tirx

from hwopt.targets import tvm_build
from hwopt.targets.target import Target
from hwopt.targets.templates import analysis
from hwopt.targets.templates.base import Config

#: Threads of a block, the likely best first: results of small models fill few blocks.
BLOCKS = (128, 64, 256, 512)


class GpuThreads:
    """Bind the loops over the result to blocks of ``threads`` threads."""

    name = "gpu-threads"

    def matches(self, func: tirx.PrimFunc, target: Target) -> bool:
        """Accept every kernel for a GPU whose sizes are known."""
        return target.is_gpu and analysis.is_static(func)

    def space(self, func: tirx.PrimFunc, target: Target) -> list[Config]:
        """Offer sizes of blocks."""
        return [{"threads": threads} for threads in BLOCKS]

    def schedule(self, func: tirx.PrimFunc, config: Config, target: Target) -> tirx.PrimFunc:
        """Apply TVM's schedule, with blocks of this size."""
        from tvm.s_tir.dlight.gpu import Fallback  # slow to import, and for GPUs only

        sized = dataclasses.replace(
            target, tvm={**target.tvm, "max_num_threads": config["threads"]}
        )
        plain = func.with_attr("s_tir", True)
        schedule: Any = Fallback().apply(plain, tvm_build.tvm_target(sized), False)
        if schedule is None:
            raise s_tir.ScheduleError("it is not made of plain loops")
        return tvm_build.mark_scheduled(schedule)

    def macs(self, func: tirx.PrimFunc) -> int:
        """Count the products of two tensors that are summed."""
        return analysis.macs(func)
