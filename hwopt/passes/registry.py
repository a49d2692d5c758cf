"""Find passes by name: hwopt's own and those of installed packages, loaded when used."""

from __future__ import annotations

import functools
import importlib.util
import re
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

from hwopt import passes, plugins
from hwopt.errors import HwoptError, unknown_name
from hwopt.option_text import parse_options, split_pipeline
from hwopt.passes.base import Pass

_FROM_FILES: dict[str, type[Pass]] = {}


def names() -> list[str]:
    """Return the names of all passes, without loading them.

    >>> "prune-channels" in names()
    True
    """
    return sorted({*_own(), *plugins.names(plugins.PASSES), *_FROM_FILES})


def source(name: str) -> str:
    """Return where a pass comes from: its distribution, or its file."""
    if name in _FROM_FILES:
        return str(sys.modules[_FROM_FILES[name].__module__].__file__)
    return "hwopt" if name in _own() else plugins.package(plugins.PASSES, name)


def load(name: str) -> type[Pass]:
    """Return the class of a pass.

    Raises:
        HwoptError: if there is none, or the package that offers it cannot be imported.
    """
    if name in _FROM_FILES:
        return _FROM_FILES[name]
    if name in _own():
        own: type[Pass] = getattr(passes, _own()[name])
        return own
    if name not in plugins.names(plugins.PASSES):
        raise unknown_name("pass", name, names())
    found = plugins.load(plugins.PASSES, name)
    shown = f"pass {name!r} ({plugins.where(plugins.PASSES, name)})"
    if not (isinstance(found, type) and issubclass(found, Pass)):
        raise HwoptError(f"{shown} is not a subclass of hwopt.passes.Pass")
    if found.name != name:
        raise HwoptError(f"{shown} calls itself {found.name!r}")
    return found


def load_file(file: str | Path) -> list[str]:
    """Register every pass that a Python file defines; return their names.

    Raises:
        HwoptError: if the file cannot be run or defines no pass.
    """
    path = Path(file)
    if not path.is_file():
        raise HwoptError(f"the plugin {path} does not exist")
    # Another file may have the same name.
    module_name = f"hwopt_plugin_{path.stem}_{zlib.crc32(bytes(path.resolve())):08x}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise HwoptError(f"the plugin {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises
        message = f"the plugin {path} cannot be run: {type(error).__name__}: {error}"
        raise HwoptError(message) from error
    found = {
        value.name: value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Pass) and value.__module__ == module_name
        if value.name  # a base of others has none
    }
    if not found:
        raise HwoptError(f"the plugin {path} defines no subclass of hwopt.passes.Pass with a name")
    taken = {*_own(), *plugins.names(plugins.PASSES)}
    taken |= {name for name, one in _FROM_FILES.items() if one.__module__ != module_name}
    for name in sorted(found.keys() & taken):
        raise HwoptError(f"the plugin {path} calls a pass {name!r}, which is there: rename it")
    _FROM_FILES.update(found)
    return sorted(found)


def parse(given: str | Pass | Sequence[Pass | str]) -> list[Pass]:
    """Return passes given as text, as one pass or as a list.

    Raises:
        HwoptError: if the text cannot be read, or names an unknown pass or option.

    >>> [str(p) for p in parse("eliminate-dead-code,prune-channels{ratio=0.25}")]
    ['eliminate-dead-code', 'prune-channels{ratio=0.25}']
    """
    if isinstance(given, str):
        return [
            parse_options(load(name), options, f"pass {name}")
            for name, options in split_pipeline(given)
        ]
    if isinstance(given, Pass):
        return [given]
    return [instance for entry in given for instance in parse(entry)]


@functools.cache
def _own() -> dict[str, str]:
    """Return the classes of the passes of this room, by the names of the passes."""
    return {re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower(): name for name in passes.OWN}
