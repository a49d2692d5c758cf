"""Passes: graph to graph. See ``docs/writing-a-pass.md``."""

from hwopt.passes.base import Condition, Context, Note, Pass, PassResult
from hwopt.passes.registry import load_file, names, parse
from hwopt.passes.runner import PassError, apply

__all__ = [
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
