"""What is told while kernels are tuned."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str, float | None], None]
"""Told after each kernel and candidate: kernels done, kernels in all, the current kernel's name,
and its best time so far in microseconds (None before one is measured)."""
