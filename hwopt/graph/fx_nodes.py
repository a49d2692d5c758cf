"""What a node of an exported program says of itself: its line, its module, its name."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import fx

_TORCH = str(Path(torch.__file__).parent)


def where(node: fx.Node) -> str:
    """Return a node's name, with the user's line where that is known: none of torch's own."""
    trace = (node.meta.get("stack_trace") or "").strip().splitlines()
    lines = [t.strip() for t in trace if t.strip().startswith("File")]
    own = [line for line in lines if _TORCH not in line] or lines
    return f"node {node.name} ({own[-1]})" if own else f"node {node.name}"


def module_path(node: fx.Node) -> str:
    """Return the path of the module in which a node was called; empty if it was in none."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    # A module that is called twice stands in the stack as ``name@1``.
    path = str(path).split("@")[0]
    return "" if "_empty_nn_module_stack" in path else writable(path)


def writable(name: str) -> str:
    """Return a name that the text of a graph may hold: torch lets modules have any.

    >>> writable("a b:c")
    'a_b_c'
    """
    return re.sub(r"[^A-Za-z0-9_.-]", "_", f"_{name}" if name.startswith("-") else name)
