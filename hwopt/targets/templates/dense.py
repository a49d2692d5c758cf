"""Matrix products with a constant matrix, as kernels for the register tile."""

from __future__ import annotations

from typing import Any

from tvm import relax, te
from tvm.ir.expr import GenericConst

from hwopt.targets.target import Target
from hwopt.targets.templates.conv2d import pack
from hwopt.targets.templates.register_tile import lanes_for
from hwopt.targets.templates.register_tile_space import (
    OUT_ELEMENTWISE_FUSABLE,
    SUMS,
    UNPACKED,
    as_three,
)


def legalize(builder: Any, call: Any, target: Target) -> Any:
    """Rewrite a float32 ``relax.matmul`` by a constant matrix; None for any other call."""
    data, weight = call.args
    supported = (
        isinstance(weight, GenericConst)
        and weight.ty.ndim == 2
        and 2 <= data.ty.ndim <= 4
        and data.ty.dtype.dtype == weight.ty.dtype.dtype == call.ty.dtype.dtype == "float32"
    )
    if not supported:
        return None
    matrix = weight.value.numpy()
    packed = pack(matrix[None, None], 1, lanes_for(matrix.shape[1], target))[:, 0, 0]
    return builder.call_te(
        product,
        data,
        relax.const(packed),
        matrix.shape[1],
        primfunc_name_hint="dense",
        primfunc_attrs={"op_pattern": OUT_ELEMENTWISE_FUSABLE},
    )


def product(data: te.Tensor, packed: te.Tensor, channels: int) -> te.Tensor:
    """Describe ``data [..., K]`` times a matrix packed as ``[block, K, lanes]``."""
    blocks, inputs, lanes = (int(n) for n in packed.shape)
    leading = [int(n) for n in data.shape][:-1]
    k = te.reduce_axis((0, inputs), name="k")

    def multiply(n: Any, h: Any, w: Any, b: Any, v: Any) -> Any:
        place = {1: [h], 2: [n, h], 3: [n, h, w]}[len(leading)]
        return te.sum(data[(*place, k)] * packed[b, k, v], axis=[k])

    def unpack(*index: Any) -> Any:
        *place, channel = index
        return sums[(*as_three(place, 0), channel // lanes, channel % lanes)]

    sums = te.compute((*as_three(leading), blocks, lanes), multiply, name=SUMS)
    return te.compute((*leading, channels), unpack, name=UNPACKED)
