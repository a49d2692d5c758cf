"""Kernels that come with their schedule, such as the loop over the steps of a recurrent cell."""

from __future__ import annotations

from tvm import tirx

from hwopt.targets import tvm_build
from hwopt.targets.target import Target
from hwopt.targets.templates.base import Config


class Written:
    """Leave a kernel as it was written."""

    name = "written"

    def matches(self, func: tirx.PrimFunc, target: Target) -> bool:
        """Accept kernels that say so."""
        return func.attrs is not None and tvm_build.SCHEDULED in func.attrs

    def space(self, func: tirx.PrimFunc, target: Target) -> list[Config]:
        """Offer the one schedule."""
        return [{}]

    def schedule(self, func: tirx.PrimFunc, config: Config, target: Target) -> tirx.PrimFunc:
        """Return the kernel itself."""
        return func

    def macs(self, func: tirx.PrimFunc) -> int:
        """Return the number that it was written with."""
        return int(func.attrs[MACS]) if MACS in func.attrs else 0


#: The attribute with the multiply-accumulates of one call.
MACS = "hwopt.macs"
