"""Search: what to remove where, within a latency that is measured."""

from hwopt.search.allocate import Allocation, Width, allocate, faster_widths

__all__ = ["Allocation", "Width", "allocate", "faster_widths"]
