"""Packages whose names are imported when they are first used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def attach(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return what a package sets as its ``__getattr__``, ``__dir__`` and ``__all__``.

    Args:
        package: its name.
        homes: from every name to the module that defines it; a module's own name stands for the
            module itself.

    >>> getattr_, dir_, all_ = attach("hwopt.optim", {"ALIG": "hwopt.optim.alig"})
    >>> getattr_("ALIG").__name__, dir_()
    ('ALIG', ['ALIG'])
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = importlib.import_module(homes[name])
        return home if homes[name] == f"{package}.{name}" else getattr(home, name)

    names = sorted(homes)
    return get, lambda: names, names
