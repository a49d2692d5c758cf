"""The bindings of a module's main function: who reads what, and how they are replaced."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax


def bindings(main: relax.Function) -> dict[Any, Any]:
    """Return all bindings in order, by their variable."""
    return {binding.var: binding for block in main.body.blocks for binding in block.bindings}


def readers(main: relax.Function) -> collections.Counter[Any]:
    """Count how many values read each variable; the result of the function is one, too."""
    values = [*(binding.value for binding in bindings(main).values()), main.body.body]
    return collections.Counter(itertools.chain.from_iterable(map(relax.analysis.used_vars, values)))


def with_bindings(mod: tvm.IRModule, change: Callable[[Any], Any]) -> tvm.IRModule:
    """Return the module with ``change(binding)`` for every binding; None leaves it out."""
    main = mod["main"]
    blocks = []
    for block in main.body.blocks:
        changed = (change(binding) for binding in block.bindings)
        blocks.append(type(block)([binding for binding in changed if binding is not None]))
    body = relax.SeqExpr(blocks, main.body.body)
    func = relax.Function(main.params, body, main.ret_ty, main.is_pure, main.attrs)
    return with_main(mod, func)


def with_main(mod: tvm.IRModule, func: relax.Function) -> tvm.IRModule:
    """Return the module with another main function, normalised, without what nothing reads."""
    mod = tvm.IRModule(mod.functions)
    mod.update_func(mod.get_global_var("main"), func)
    clean = [relax.transform.Normalize(), relax.transform.DeadCodeElimination()]
    return tvm.transform.Sequential(clean)(mod)
