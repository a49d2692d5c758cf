"""The compiler: graph to Relax to artefact, and the artefact's life after that."""

from hwopt.compiler.artifact import Artifact, load
from hwopt.compiler.compile_model import compile
from hwopt.compiler.latency import Latency, measure
from hwopt.compiler.manifest import record_figures

__all__ = ["Artifact", "Latency", "compile", "load", "measure", "record_figures"]
