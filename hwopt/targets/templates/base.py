"""What a kernel template is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from tvm import tirx

from hwopt.targets.target import Target

Config = dict[str, int]


class Template(Protocol):
    """A family of schedules for kernels of one shape, with a small space of choices."""

    name: str

    def matches(self, func: tirx.PrimFunc, target: Target) -> bool:
        """Return whether the template can schedule ``func``, an unscheduled kernel."""
        ...

    def space(self, func: tirx.PrimFunc, target: Target) -> list[Config]:
        """Return the choices, the best guess first; never empty for a kernel that matches."""
        ...

    def schedule(self, func: tirx.PrimFunc, config: Config, target: Target) -> tirx.PrimFunc:
        """Return the kernel scheduled by ``config``, marked ``tirx.is_scheduled``."""
        ...

    def macs(self, func: tirx.PrimFunc) -> int:
        """Return the multiply-accumulates of one call, as the model's operators define them."""
        ...


# Says which of several unscheduled kernels that compute the same takes least time, by name.
Fastest = Callable[[dict[str, tirx.PrimFunc]], str]

# A rewriting of one Relax call into kernels that a template knows how to schedule. It gets the
# block builder, the call, the target and a way to choose between kernels, and returns None to leave
# the call to TVM.
Legalization = Callable[[Any, Any, Target, Fastest], Any]


def first(kernels: dict[str, tirx.PrimFunc]) -> str:
    """Choose the first kernel: where nothing is measured.

    >>> first({"dense": None, "codebook_dense": None})
    'dense'
    """
    return next(iter(kernels))


def round_up(size: int, step: int) -> int:
    """Return the least multiple of ``step`` that is at least ``size``.

    >>> round_up(13, 8)
    16
    """
    return -(-size // step) * step
