"""The compiler: graph to Relax to artefact, and the artefact's life after that.

Loading and running an artefact needs neither torch nor TVM's compiler: what does is imported when
it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hwopt.compiler.artifact import Artifact
from hwopt.compiler.data_latency import DataLatency, InTurns
from hwopt.compiler.latency import Latency, measure
from hwopt.compiler.loading import load
from hwopt.compiler.manifest import record_figures

if TYPE_CHECKING:
    from hwopt.compiler.compile_model import compile

__all__ = [
    "Artifact",
    "DataLatency",
    "InTurns",
    "Latency",
    "compile",
    "load",
    "measure",
    "record_figures",
]


def __getattr__(name: str) -> Any:
    if name != "compile":
        raise AttributeError(f"module 'hwopt.compiler' has no attribute {name!r}")
    from hwopt.compiler.compile_model import compile

    return compile
