"""Passes: graph to graph. See ``docs/writing-a-pass.md``."""

from hwopt.passes.base import BATCH_SIZE, Condition, Context, Note, Pass, PassResult
from hwopt.passes.registry import load_file, names, parse
from hwopt.passes.runner import PassError, apply

__all__ = [
    "BATCH_SIZE",
    "Condition",
    "Context",
    "Note",
    "Pass",
    "PassError",
    "PassResult",
    "apply",
    "load_file",
    "names",
    "parse",
]
