"""TVM's runtime by itself: all that running an artefact takes."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

#: The second has what kernels call that are not loops, such as sorting.
_LIBRARIES = ("tvm_runtime", "tvm_runtime_extra")


def load_runtime() -> Any:
    """Load TVM's runtime library, and neither its compiler nor torch; return ``tvm_ffi``.

    The Python package ``tvm`` imports the compiler, and TVM's bindings import torch wherever it is
    installed: seconds and hundreds of megabytes that running a model does not need. Both can still
    be imported later.
    """
    bindings = _without("torch", "tvm_ffi")
    package = importlib.util.find_spec("tvm")
    if package is None:
        raise ModuleNotFoundError("No module named 'tvm': install apache-tvm", name="tvm")
    folders = [Path(folder) / "lib" for folder in package.submodule_search_locations or ()]
    load = importlib.import_module("tvm_ffi.libinfo").load_lib_ctypes
    for library in _LIBRARIES:
        load("tvm", library, "RTLD_GLOBAL", extra_lib_paths=folders)
    return bindings


def _without(absent: str, name: str) -> Any:
    """Import ``name`` as if the module ``absent`` were not installed, unless it is loaded."""
    if absent in sys.modules:
        return importlib.import_module(name)
    modules: dict[str, Any] = sys.modules
    modules[absent] = None
    try:
        return importlib.import_module(name)
    finally:
        del modules[absent]
