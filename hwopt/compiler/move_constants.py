"""Weights that are only transposed or reshaped: numpy does it, once, while compiling.

TVM's own folding of constants compiles and runs a kernel for each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax

_CONSTANT = relax.dpl.is_const()
_SHAPE = relax.dpl.wildcard()


def move_constants(mod: tvm.IRModule) -> tvm.IRModule:
    """Replace every ``permute_dims`` and ``reshape`` of a constant by its result."""
    func = mod["main"]
    for pattern, move in (
        (relax.dpl.is_op("relax.permute_dims")(_CONSTANT), _permuted),
        (relax.dpl.is_op("relax.reshape")(_CONSTANT, _SHAPE), _reshaped),
    ):
        func = relax.dpl.rewrite_call(pattern, _rewriter(move), func)
    mod = tvm.IRModule(mod.functions)
    mod["main"] = func
    canonical = [relax.transform.Normalize(), relax.transform.CanonicalizeBindings()]
    return tvm.transform.Sequential(canonical)(mod)


def _rewriter(move: Callable[[Any, np.ndarray], np.ndarray]) -> Callable[[Any, Any], Any]:
    def rewrite(call: Any, found: Any) -> Any:
        return relax.const(np.ascontiguousarray(move(call, found[_CONSTANT].value.numpy())))

    return rewrite


def _permuted(call: Any, array: np.ndarray) -> np.ndarray:
    axes = call.attrs.axes
    return array.transpose(None if axes is None else [int(axis) for axis in axes])


def _reshaped(call: Any, array: np.ndarray) -> np.ndarray:
    return array.reshape([int(size) for size in call.ty.shape])
