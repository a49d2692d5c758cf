"""Matrix products with a constant matrix, as kernels for the register tile."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax, te, tirx
from tvm.ir.expr import GenericConst

from hwopt.targets.target import Target
from hwopt.targets.templates import codebook
from hwopt.targets.templates.base import Fastest
from hwopt.targets.templates.conv2d import pack
from hwopt.targets.templates.register_tile import lanes_for
from hwopt.targets.templates.register_tile_space import (
    OUT_ELEMENTWISE_FUSABLE,
    SUMS,
    UNPACKED,
    as_three,
)


def legalize(builder: Any, call: Any, target: Target, fastest: Fastest) -> Any:
    """Rewrite a float32 ``relax.matmul`` by a constant matrix; None for any other call.

    A matrix of few distinct values is multiplied as codes where that is faster.
    """
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
    channels = matrix.shape[1]
    packed = pack(matrix[None, None], 1, lanes_for(channels, target))[:, 0, 0]
    ways: dict[str, tuple[Callable[..., te.Tensor], tuple[np.ndarray, ...]]] = {
        "dense": (functools.partial(product, channels=channels), (packed,))
    }
    encoded = codebook.encode(matrix, target)
    if encoded is not None:
        decode = functools.partial(codebook.product, channels=channels, isa=target.isa)
        ways["codebook_dense"] = (decode, encoded)
    name = "dense"
    if len(ways) > 1:
        shape = [int(n) for n in data.ty.shape]
        name = fastest({n: _kernel(shape, *way) for n, way in ways.items()})
    describe, constants = ways[name]
    return builder.call_te(
        describe,
        data,
        *(relax.const(array) for array in constants),
        primfunc_name_hint=name,
        primfunc_attrs={"op_pattern": OUT_ELEMENTWISE_FUSABLE},
    )


def _kernel(
    shape: list[int], describe: Callable[..., te.Tensor], constants: tuple[np.ndarray, ...]
) -> tirx.PrimFunc:
    """Return a product by itself, of data of this shape, as a kernel."""
    inputs = [te.placeholder(shape, "float32", name="data")]
    inputs += [te.placeholder(array.shape, str(array.dtype)) for array in constants]
    return te.create_prim_func([*inputs, describe(*inputs)])


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
