"""What installed packages offer under a group of entry points: found by name, loaded when used."""

from __future__ import annotations

import functools
import importlib.metadata
import sys
from typing import Any

from hwopt.errors import HwoptError, unknown_name

OPTIMIZERS, PASSES, SAMPLERS = "hwopt.optimizers", "hwopt.passes", "hwopt.samplers"
#: What one of a group is called.
_KINDS = {OPTIMIZERS: "optimizer", PASSES: "pass", SAMPLERS: "sampler"}


def names(group: str) -> list[str]:
    """Return the names that a group has, without loading anything.

    >>> "sgd" in names(OPTIMIZERS), "guided" in names(SAMPLERS)
    (True, True)
    """
    return sorted({entry.name for entry in _entry_points(group)})


def package(group: str, name: str) -> str:
    """Return the distribution that offers a name.

    Raises:
        HwoptError: if none does.
    """
    entry = _entry_point(group, name)
    return entry.dist.name if entry.dist else "unknown"


def load(group: str, name: str) -> Any:
    """Return what a name stands for.

    Raises:
        HwoptError: if there is none of the name, several packages offer it, or the one that does
            cannot be imported.
    """
    entry = _entry_point(group, name)
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        kind = _KINDS[group]
        raise HwoptError(f"{kind} {name!r} ({entry.value}) cannot be loaded: {error}") from error


def where(group: str, name: str) -> str:
    """Return the module and the object that a name stands for, as ``module:object``."""
    return _entry_point(group, name).value


def _entry_points(group: str) -> importlib.metadata.EntryPoints:
    return _installed(group, tuple(sys.path))


@functools.lru_cache(8)
def _installed(group: str, path: tuple[str, ...]) -> importlib.metadata.EntryPoints:
    """Read what packages offer, which takes milliseconds, once for a path of Python's."""
    return importlib.metadata.entry_points(group=group)


def _entry_point(group: str, name: str) -> importlib.metadata.EntryPoint:
    kind, found = _KINDS[group], [one for one in _entry_points(group) if one.name == name]
    if not found:
        raise unknown_name(kind, name, names(group))
    if len({entry.value for entry in found}) > 1:
        owners = ", ".join(sorted(entry.dist.name for entry in found if entry.dist))
        raise HwoptError(f"{kind} {name!r} is offered by several packages ({owners}): remove one")
    return found[0]
