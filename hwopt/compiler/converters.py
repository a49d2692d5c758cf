"""Conversion to Relax of operators that TVM's importer does not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

Converter = Callable[[Any, Any], Any]


def converters() -> dict[str, Converter]:
    """Return TVM's ``custom_convert_map``: from ``name.overload`` to a function that emits."""
    return {
        "amax.default": _reduction(relax.op.max),
        "amin.default": _reduction(relax.op.min),
        "prod.dim_int": _reduction(relax.op.prod),
        "group_norm.default": _group_norm,
        "var.dim": _variance,
    }


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Return torch's own decompositions of operators that neither TVM nor we convert."""
    import torch

    aten = torch.ops.aten
    return torch._decomp.get_decompositions(
        [
            aten.reflection_pad1d,
            aten.reflection_pad2d,
            aten.reflection_pad3d,
            aten.replication_pad1d,
            aten.replication_pad2d,
            aten.replication_pad3d,
            aten._native_batch_norm_legit,
            aten.std,
        ]
    )


def _reduction(operator: Callable[..., relax.Expr]) -> Converter:
    """Convert ``op(x, dim, keepdim)``; no dimension means all of them."""

    def convert(node: Any, importer: Any) -> relax.Var:
        x, dim, keepdim = _arguments(node, importer, ("dim", "keepdim"))
        axis = None if dim in (None, []) else dim
        return importer.block_builder.emit(operator(x, axis, bool(keepdim)))

    return convert


def _variance(node: Any, importer: Any) -> relax.Var:
    """Convert ``var(x, dim, unbiased, keepdim)``; relax has the biased variance only."""
    x, dim, unbiased, keepdim = _arguments(node, importer, ("dim", "unbiased", "keepdim"))
    result = importer.block_builder.emit(relax.op.variance(x, dim, bool(keepdim)))
    shape = node.args[0].meta["val"].shape
    count = 1
    for axis in range(len(shape)) if dim is None else dim:
        count *= shape[axis]
    if unbiased is False or count <= 1:
        return result
    dtype = str(node.args[0].meta["val"].dtype).removeprefix("torch.")
    correction = relax.const(count / (count - 1), dtype)
    return importer.block_builder.emit(relax.op.multiply(result, correction))


def _group_norm(node: Any, importer: Any) -> relax.Var:
    """Convert ``group_norm``; TVM's own converter cannot do without weight and bias."""
    names = ("num_groups", "weight", "bias", "eps")
    x, groups, weight, bias, epsilon = _arguments(node, importer, names)
    example = node.args[0].meta["val"]
    channels, dtype = example.shape[1], str(example.dtype).removeprefix("torch.")
    gamma, beta = (
        relax.const(np.full(channels, default, dtype)) if given is None else importer.env[given]
        for given, default in ((weight, 1), (bias, 0))
    )
    axes = list(range(2, example.dim()))
    return importer.block_builder.emit(
        relax.op.nn.group_norm(x, gamma, beta, groups, 1, axes, epsilon or 1e-5)
    )


def _arguments(node: Any, importer: Any, names: tuple[str, ...]) -> list[Any]:
    """Return the converted input and the other arguments by position or by name."""
    given = dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)
    return [importer.env[node.args[0]], *(given.get(name) for name in names)]
