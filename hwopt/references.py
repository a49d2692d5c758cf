"""The user's own code, named as ``package.module:callable``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hwopt.errors import HwoptError


def find(reference: str, what: str) -> Callable[..., Any]:
    """Return the callable; modules in the current folder are found too, as with ``python -m``.

    Args:
        reference: ``package.module:name``, where the name may have dots.
        what: what it stands for, for messages: ``model``, ``data set``.

    Raises:
        HwoptError: if there is no such module or callable, or the module raises.

    >>> find("math:hypot", "model")(3, 4)
    5.0
    """
    module_name, _, name = reference.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # a module of the user may raise anything
        raise HwoptError(f"{what} {reference}: cannot import {module_name!r}: {error}") from error
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise HwoptError(f"{what} {reference}: {module_name!r} has no callable {name!r}")
    return found


def call(reference: str, what: str, **arguments: Any) -> Any:
    """Return what the callable returns.

    Raises:
        HwoptError: if it is not found or raises.
    """
    function = find(reference, what)
    try:
        return function(**arguments)
    except Exception as error:  # whatever the user's callable raises
        message = f"{what} {reference} raised {type(error).__name__}: {error}"
        raise HwoptError(message) from error
