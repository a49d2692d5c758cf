"""The kernels of an artefact as a table, and its three largest losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hwopt.report.table import make_table

if TYPE_CHECKING:
    from rich.table import Table

    from hwopt.compiler.profile import KernelProfile

LOSSES = 3


def profile_table(kernels: Sequence[KernelProfile]) -> Table:
    """Return a line a kernel, in the order in which the model calls them."""
    titles = ["kernel", "road", "calls", "us", "share", "MACs", "bytes", "of compute", "of memory"]
    lines = [
        [
            kernel.name,
            kernel.road,
            str(kernel.calls),
            f"{kernel.us:.1f}",
            f"{kernel.share:.0%}",
            f"{kernel.macs / 1e6:.2f} M",
            f"{kernel.bytes:,}",
            f"{kernel.compute:.0%}",
            f"{kernel.memory:.0%}",
        ]
        for kernel in kernels
    ]
    return make_table(titles, lines)


def largest_losses(kernels: Sequence[KernelProfile]) -> list[str]:
    """Return a sentence for each kernel that is furthest above the least time it could take.

    >>> from hwopt.compiler.profile import KernelProfile
    >>> slow = KernelProfile("conv", "fallback", 1, 90.0, 0.9, 10**6, 10**4, 0.1, 0.02, 81.0)
    >>> fast = KernelProfile("dense", "search", 1, 10.0, 0.1, 10**6, 10**4, 0.9, 0.1, 1.0)
    >>> print(*largest_losses([fast, slow]), sep="; ")
    conv: 81.0 of 90.0 us above the machine's limit (compute); dense: 1.0 of 10.0 us above the \
machine's limit (compute)
    """
    worst = sorted(kernels, key=lambda kernel: kernel.lost_us, reverse=True)[:LOSSES]
    return [
        f"{kernel.name}: {kernel.lost_us:.1f} of {kernel.us:.1f} us above the machine's limit "
        f"({'compute' if kernel.compute >= kernel.memory else 'memory'})"
        for kernel in worst
    ]
