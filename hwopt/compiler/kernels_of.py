"""What a graph would be compiled to, without tuning or building anything."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

from hwopt.compiler.footprint import Footprint
from hwopt.compiler.pipeline import to_kernels, unscheduled
from hwopt.compiler.prepare import prepare
from hwopt.compiler.whole_model import follow
from hwopt.targets import tvm_build
from hwopt.targets.kernel_shape import kernel_shape
from hwopt.targets.latency_table import KernelCalls

if TYPE_CHECKING:
    import tvm

    from hwopt.compiler.plan import Plan
    from hwopt.graph import Graph
    from hwopt.targets import Target


def kernels_of(graph: Graph, target: Target) -> tuple[KernelCalls, ...]:
    """Return the kernels of a graph at batch 1, and how often an inference calls each.

    Raises:
        HwoptError: if the graph cannot be compiled.
    """
    mod, plan = _followed(graph, target)
    calls = collections.Counter(call.kernel for call in plan.calls)
    with tvm_build.tvm_target(target):
        return tuple(
            KernelCalls(kernel_shape(func, target), calls[name])
            for name, func in unscheduled(mod).items()
        )


def footprint_of(graph: Graph, target: Target) -> Footprint:
    """Return what a graph would take of memory at batch 1.

    Raises:
        HwoptError: if the graph cannot be compiled.
    """
    return Footprint.of(_followed(graph, target)[1])


def _followed(graph: Graph, target: Target) -> tuple[tvm.IRModule, Plan]:
    tvm_build.check_target(target)
    with tvm_build.tvm_target(target), tvm_build.pass_context():
        mod = to_kernels(prepare(graph, None).lowered(), target)
        return mod, follow(mod).plan
