"""Kernel templates: families of schedules with small spaces, found by the kernels they match.

A new family is one module and one entry in :data:`TEMPLATES`; the first one that matches wins.
"""

from __future__ import annotations

import functools
from typing import Any

from tvm import s_tir, tirx

from hwopt.errors import HwoptError, unknown_name
from hwopt.targets.target import Target
from hwopt.targets.templates import analysis, conv2d, dense
from hwopt.targets.templates.base import Config, Fastest, Legalization, Template, first
from hwopt.targets.templates.gpu_threads import GpuThreads
from hwopt.targets.templates.loops import Loops
from hwopt.targets.templates.register_tile import RegisterTile, can_read_through, can_take_along
from hwopt.targets.templates.register_tile_space import BINARY
from hwopt.targets.templates.separable import Separable, can_follow
from hwopt.targets.templates.winograd_tile import Winograd
from hwopt.targets.templates.written import Written

__all__ = ["TEMPLATES", "Config", "Fastest", "Template", "by_name", "can_merge", "find", "first"]

TEMPLATES: tuple[Template, ...] = (
    GpuThreads(),
    Written(),
    Winograd(),
    Separable(),
    RegisterTile(),
    Loops(),
)

LEGALIZATIONS: dict[str, Legalization] = {
    "relax.nn.conv2d": conv2d.legalize,
    "relax.matmul": dense.legalize,
}


def find(func: tirx.PrimFunc, target: Target) -> Template | None:
    """Return the template for an unscheduled kernel, or None if it needs a search."""
    return next((template for template in TEMPLATES if template.matches(func, target)), None)


def by_name(name: str) -> Template:
    """Return the template called ``name``.

    Raises:
        HwoptError: if there is none.
    """
    for template in TEMPLATES:
        if template.name == name:
            return template
    raise unknown_name("kernel template", name, [template.name for template in TEMPLATES])


def can_merge(first: tirx.PrimFunc, second: tirx.PrimFunc, target: Target) -> bool:
    """Return whether a template wants an unscheduled kernel and the one that reads it as one.

    A convolution can read the model's input in the layout that it has, and take along what maps its
    result; a depthwise convolution goes together with the 1x1 convolution after it.
    """
    if target.is_gpu:
        return False  # a block of a kernel is a launch there
    if can_read_through(first, second):
        return isinstance(find(second, target), RegisterTile | Separable)
    if can_take_along(first, second):
        return isinstance(find(first, target), RegisterTile)
    return can_follow(first, second, target)


def macs(func: tirx.PrimFunc, target: Target) -> int:
    """Return the multiply-accumulates of one call of an unscheduled kernel."""
    template = find(func, target)
    return template.macs(func) if template else analysis.macs(func)


def is_binary(func: tirx.PrimFunc) -> bool:
    """Return whether an unscheduled kernel multiplies signs, as bits."""
    return BINARY in analysis.names(s_tir.Schedule(func))


def touched_bytes(func: tirx.PrimFunc) -> int:
    """Return the size of what a kernel reads and writes, each buffer once; 0 if it is dynamic."""
    return sum(analysis.buffer_bytes(param) for param in func.params)


def legalizations(target: Target, fastest: Fastest = first) -> dict[str, Any]:
    """Return the rewritings of Relax operators that lead to kernels of these templates."""
    return {
        operator: functools.partial(_legalize, rewrite, target, fastest)
        for operator, rewrite in LEGALIZATIONS.items()
    }


def _legalize(
    rewrite: Legalization, target: Target, fastest: Fastest, builder: Any, call: Any
) -> Any:
    """Rewrite a call, or do to it what TVM does by default."""
    rewritten = rewrite(builder, call, target, fastest)
    return call.op.get_attr("FLegalize")(builder, call) if rewritten is None else rewritten


def default_schedule(func: tirx.PrimFunc, target: Target) -> tirx.PrimFunc:
    """Return ``func`` under a schedule that is right for any loops, or as it is if it has none.

    Raises:
        HwoptError: if the target is a GPU, which needs threads.
    """
    if target.is_gpu:
        raise HwoptError(f"a kernel of the model has no schedule for the GPU {target.name}")
    if not analysis.is_static(func):
        return func
    loops = Loops()
    return loops.schedule(func, loops.space(func, target)[0], target)
