"""hwopt: hardware-aware compression and compilation of PyTorch models.

The names below are loaded when first used: importing torch and TVM takes seconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hwopt.version import __version__

if TYPE_CHECKING:
    from hwopt.compiler import Artifact, Latency, load
    from hwopt.compiler import compile as compile
    from hwopt.graph import Graph, import_model
    from hwopt.passes import apply


_HOMES = {
    "Artifact": "hwopt.compiler",
    "Graph": "hwopt.graph",
    "Latency": "hwopt.compiler",
    "apply": "hwopt.passes",
    "compile": "hwopt.compiler",
    "import_model": "hwopt.graph",
    "load": "hwopt.compiler",
}

__all__ = [
    "Artifact",
    "Graph",
    "Latency",
    "__version__",
    "apply",
    "compile",
    "import_model",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hwopt' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
