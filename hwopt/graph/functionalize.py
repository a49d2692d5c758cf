"""Replace operators that write into their argument by those that return a new tensor."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram


def functionalized(program: ExportedProgram) -> ExportedProgram:
    """Return the program without in-place operators.

    ``relu_(x)`` becomes ``relu(x)`` where no view of ``x`` is read later. Else torch rewrites the
    whole program, which is always right but forgets that dropout was there.
    """
    in_place = [n for n in program.graph.nodes if _writes(n)]
    called = [m for m in program.graph_module.modules() if m is not program.graph_module]
    within = any(_writes(n) for m in called if isinstance(m, fx.GraphModule) for n in m.graph.nodes)
    if not in_place and not within:
        return program
    is_rewritten = within or any(
        _has_views(node.args[0]) or _functional(node) is None for node in in_place
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, about its pytrees
        if is_rewritten:
            return program.run_decompositions({})
        program = copy.deepcopy(program)  # the given one is its owner's
    in_place = [n for n in program.graph.nodes if _writes(n)]
    order = {n: i for i, n in enumerate(program.graph.nodes)}
    for node in in_place:
        written: Any = node.args[0]
        node.target = _functional(node)
        later = {user for user in written.users if order[user] > order[node]}
        written.replace_all_uses_with(node, delete_user_cb=later.__contains__)
    return program


def _writes(node: fx.Node) -> bool:
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable


def _functional(node: fx.Node) -> torch._ops.OpOverload | None:
    target: Any = node.target
    name = target._opname
    if not name.endswith("_"):
        return None
    packet = getattr(getattr(torch.ops, target.namespace), name.removesuffix("_"), None)
    found = getattr(packet, target._overloadname, None)
    if found is None or len(found._schema.arguments) != len(target._schema.arguments):
        return None
    return found


def _has_views(written: Any) -> bool:
    """Say whether a tensor is a view of another, or another is a view of it."""
    if not isinstance(written, fx.Node) or written.op == "placeholder":
        return True
    return _is_view(written) or any(_is_view(user) for user in written.users)


def _is_view(node: fx.Node) -> bool:
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return node.op == "call_function"
    if target._schema.is_mutable:
        return False
    # ``reshape``, ``flatten`` and ``contiguous`` may return a view without declaring it.
    return target._opname in _MAY_VIEW or any(r.alias_info for r in target._schema.returns)


_MAY_VIEW = {"reshape", "flatten", "contiguous", "to", "dropout", "chunk", "split"}
