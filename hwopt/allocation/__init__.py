"""What to remove where, within a latency that is measured."""

from hwopt.allocation.allocate import Allocation, Width, allocate, faster_widths

__all__ = ["Allocation", "Width", "allocate", "faster_widths"]
