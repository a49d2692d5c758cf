"""Other packages' logs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def at_least(name: str, level: int) -> Iterator[None]:
    """Let the logger ``name`` say nothing below ``level`` inside the block.

    >>> with at_least("noisy", logging.ERROR):
    ...     logging.getLogger("noisy").isEnabledFor(logging.WARNING)
    False
    """
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
