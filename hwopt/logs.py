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


@contextlib.contextmanager
def own_handlers(name: str) -> Iterator[None]:
    """Let the block set up the handlers of the logger ``name``; those of before come back.

    >>> with own_handlers("configured"):
    ...     logging.getLogger("configured").addHandler(logging.NullHandler())
    >>> logging.getLogger("configured").handlers
    []
    """
    logger = logging.getLogger(name)
    handlers, propagate = logger.handlers, logger.propagate
    logger.handlers = []
    try:
        yield
    finally:
        for handler in logger.handlers:
            handler.close()
        logger.handlers, logger.propagate = handlers, propagate
