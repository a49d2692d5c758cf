"""What a kernel's time depends on, in numbers: its kind, and sizes that kernels of a kind share."""

from __future__ import annotations

from typing import Literal, NamedTuple

from tvm import s_tir, tirx

from hwopt.targets import templates
from hwopt.targets.target import Target
from hwopt.targets.templates import analysis

OPAQUE = "opaque"
#: To be raised with every change of what sizes are.
SHAPE_VERSION: Literal[1] = 1


class KernelShape(NamedTuple):
    """A kernel for a predictor of latency.

    Attributes:
        kind: the template, and the block that does most of the work: ``winograd:winograd_sums``;
            ``opaque`` for one without plain loops.
        sizes: as many for all kernels of a kind: how often each loop around that block runs, how
            often all other blocks together run, how many blocks there are, and the bytes of what
            the kernel reads and writes.
    """

    kind: str
    sizes: tuple[int, ...]


def kernel_shape(func: tirx.PrimFunc, target: Target) -> KernelShape:
    """Return the shape of an unscheduled kernel."""
    touched = templates.touched_bytes(func)
    if not analysis.is_static(func):
        return KernelShape(OPAQUE, (touched,))
    schedule = s_tir.Schedule(func)
    extents = {
        name: tuple(int(var.dom.extent) for var in schedule.get(block).iter_vars)
        for name, block in zip(analysis.names(schedule), analysis.blocks(schedule), strict=True)
    }
    runs = {
        name: analysis.iterations(schedule, block)
        for name, block in zip(extents, analysis.blocks(schedule), strict=True)
    }
    busiest = max(runs, key=lambda name: runs[name])
    others = sum(runs.values()) - runs[busiest]
    template = templates.find(func, target)
    kind = f"{template.name if template else 'search'}:{busiest}/{len(extents[busiest])}"
    return KernelShape(kind, (*extents[busiest], others, len(runs), touched))
