"""Operators that TVM's importer does not know, or that it cannot make loops of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tvm import relax, topi

from hwopt.compiler import cond, spatial_operators, topk
from hwopt.compiler.fx_arguments import arguments

Converter = Callable[[Any, Any], Any]


def converters() -> dict[str, Converter]:
    """Return TVM's ``custom_convert_map``: from ``name.overload`` to a function that emits."""
    return {
        "amax.default": _reduction(relax.op.max),
        "amin.default": _reduction(relax.op.min),
        "binary_conv2d.default": _binary_conv2d,
        "binary_linear.default": _binary_linear,
        "prod.dim_int": _reduction(relax.op.prod),
        "rsub.Scalar": _subtracted_from,
        "_unsafe_view.default": _reshape,
        "group_norm.default": _group_norm,
        "index.Tensor": _index,
        "layer_norm.default": _layer_norm,
        "select.int": _select,
        "scaled_dot_product_attention.default": _attention,
        "var.dim": _variance,
        **cond.converters(),
        **spatial_operators.converters(),
    }


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Return torch's own decompositions of operators that neither TVM nor we convert."""
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
            aten.pixel_shuffle,
            aten.pixel_unshuffle,
            aten.new_zeros,
            aten.new_ones,
            aten.new_full,
            aten.fill,
        ]
    )


def _reduction(operator: Callable[..., relax.Expr]) -> Converter:
    """Convert ``op(x, dim, keepdim)``; no dimension means all of them."""

    def convert(node: Any, importer: Any) -> relax.Var:
        given = arguments(node)
        axis = None if given["dim"] in (None, []) else given["dim"]
        x = importer.env[given["self"]]
        return importer.block_builder.emit(operator(x, axis, given["keepdim"]))

    return convert


def legalizations() -> dict[str, Callable[..., Any]]:
    """Return how operators become loops that TVM cannot make loops of."""
    return {
        "relax.nn.conv2d_transpose": _transposed_convolution,
        "relax.topk": topk.legalize,
    }


def _transposed_convolution(builder: relax.BlockBuilder, call: relax.Call) -> Any:
    """Compute a transposed convolution channels first: TVM has no other loops of it."""
    attrs = call.attrs
    is_channels_last = attrs.data_layout == "NHWC"
    numbers = {
        name: [int(n) for n in attrs[name]]
        for name in ("strides", "padding", "output_padding", "dilation")
    }

    def loops(data: Any, kernel: Any) -> Any:
        if is_channels_last:
            data = topi.transpose(data, (0, 3, 1, 2))
        if numbers["dilation"] != [1, 1]:
            kernel = topi.nn.dilate(kernel, [1, 1, *numbers["dilation"]])
        result = topi.nn.group_conv2d_transpose_nchw(
            data,
            kernel,
            numbers["strides"],
            numbers["padding"],
            call.ty.dtype,
            numbers["output_padding"],
            int(attrs.groups),
        )
        return topi.transpose(result, (0, 2, 3, 1)) if is_channels_last else result

    return builder.call_te(loops, *call.args, primfunc_name_hint="conv2d_transpose")


def _binary_conv2d(node: Any, importer: Any) -> relax.Var:
    """Convert to a convolution of :func:`_signs`, which becomes a kernel on bits later."""
    given = arguments(node)
    return importer.block_builder.emit(
        relax.op.nn.conv2d(
            _signs(importer.env[given["input"]], importer),
            importer.env[given["weight"]],
            strides=list(given["stride"]),
            padding=list(given["padding"]),
            dilation=list(given["dilation"]),
            groups=given["groups"],
        )
    )


def _binary_linear(node: Any, importer: Any) -> relax.Var:
    """Convert to a product with :func:`_signs`, which becomes a kernel on bits later."""
    x, weight = (importer.env[given] for given in arguments(node).values())
    transposed = relax.op.permute_dims(weight)
    return importer.block_builder.emit(relax.op.matmul(_signs(x, importer), transposed))


def _signs(x: relax.Expr, importer: Any) -> relax.Var:
    """Return 2 (x >= 0) - 1: TVM's own sign of zero is zero."""
    emit, dtype = importer.block_builder.emit, x.ty.dtype.dtype
    at_least_zero = relax.op.greater_equal(x, relax.const(0, dtype))
    ones = relax.op.multiply(relax.op.astype(at_least_zero, dtype), relax.const(2, dtype))
    return emit(relax.op.subtract(emit(ones), relax.const(1, dtype)))


def _subtracted_from(node: Any, importer: Any) -> relax.Var:
    """Convert ``rsub``: a whole number minus floats is refused by TVM's own converter."""
    x, number, alpha = arguments(node).values()
    x, emit = importer.env[x], importer.block_builder.emit
    dtype = x.ty.dtype.dtype
    if alpha != 1:
        x = emit(relax.op.multiply(x, relax.const(alpha, dtype)))
    return emit(relax.op.subtract(relax.const(number, dtype), x))


def _select(node: Any, importer: Any) -> relax.Var:
    """Convert ``select``; TVM's own converter reads at a place it does not check, -1 included."""
    given = arguments(node)
    x, axis, index = importer.env[given["self"]], given["dim"], given["index"]
    begin = index % node.args[0].meta["val"].shape[axis]
    part = relax.op.strided_slice(x, [axis], [begin], [begin + 1])
    return importer.block_builder.emit(relax.op.squeeze(importer.block_builder.emit(part), [axis]))


def _index(node: Any, importer: Any) -> relax.Var:
    """Convert indexing by tensors.

    TVM's own converter does not count back from the end, and takes every pair of two indices.
    """
    emit, op = importer.block_builder.emit, relax.op
    shape, after = node.args[0].meta["val"].shape, len(node.meta["val"].shape)
    axes = [axis for axis, one in enumerate(node.args[1]) if one is not None]
    others = [axis for axis in range(len(shape)) if axis not in axes]
    places = []
    for axis in axes:
        given = node.args[1][axis]
        place, kind = importer.env[given], str(given.meta["val"].dtype).removeprefix("torch.")
        size, zero = relax.const(shape[axis], kind), relax.const(0, kind)
        places.append(emit(op.where(op.less(place, zero), op.add(place, size), place)))
    if len(axes) == 1:
        return emit(op.take(importer.env[node.args[0]], places[0], axes[0]))
    first = emit(op.permute_dims(importer.env[node.args[0]], [*axes, *others]))
    found = emit(op.index_tensor(first, places))
    if axes != list(range(axes[0], axes[-1] + 1)):
        return found
    # Where neighbouring axes are indexed, the result has them in their place.
    indexed = after - len(others)
    rest = list(range(indexed, after))
    order = [*rest[: axes[0]], *range(indexed), *rest[axes[0] :]]
    return emit(op.permute_dims(found, order))


def _reshape(node: Any, importer: Any) -> relax.Var:
    shape = list(node.meta["val"].shape)
    return importer.block_builder.emit(relax.op.reshape(importer.env[node.args[0]], shape))


def _attention(node: Any, importer: Any) -> relax.Var:
    """Convert ``scaled_dot_product_attention``; TVM's own converter forgets the scale."""
    op, emit = relax.op, importer.block_builder.emit
    given = arguments(node)
    inputs = [given[name] for name in ("query", "key", "value")]
    query, key, value = (importer.env[one] for one in inputs)
    examples = [one.meta["val"] for one in inputs]
    width, dtype = examples[0].shape[-1], str(examples[0].dtype).removeprefix("torch.")
    if given["enable_gqa"]:
        copies = examples[0].shape[-3] // examples[1].shape[-3]
        key, value = (emit(op.repeat(x, copies, len(examples[0].shape) - 3)) for x in (key, value))
    axes = list(range(examples[0].dim()))
    transposed = op.permute_dims(key, [*axes[:-2], axes[-1], axes[-2]])
    scale = width**-0.5 if given["scale"] is None else given["scale"]
    scores = emit(op.matmul(op.multiply(query, relax.const(scale, dtype)), transposed))
    mask = given["attn_mask"]
    if given["is_causal"]:
        allowed = np.tril(np.ones((examples[0].shape[-2], examples[1].shape[-2]), bool))
        scores = op.add(scores, relax.const(np.where(allowed, 0, -np.inf).astype(dtype)))
    elif mask is not None and mask.meta["val"].dtype == torch.bool:
        scores = op.where(importer.env[mask], scores, relax.const(-np.inf, dtype))
    elif mask is not None:
        scores = op.add(scores, importer.env[mask])
    return emit(op.matmul(emit(op.nn.softmax(scores, axis=-1)), value))


def _variance(node: Any, importer: Any) -> relax.Var:
    """Convert ``var(x, dim, unbiased, keepdim)``; relax has the biased variance only."""
    x, dim, unbiased, keepdim = arguments(node).values()
    result = importer.block_builder.emit(relax.op.variance(importer.env[x], dim, keepdim))
    example = x.meta["val"]
    count = 1
    for axis in range(example.dim()) if dim is None else dim:
        count *= example.shape[axis]
    if not unbiased or count <= 1:
        return result
    dtype = str(example.dtype).removeprefix("torch.")
    correction = relax.const(count / (count - 1), dtype)
    return importer.block_builder.emit(relax.op.multiply(result, correction))


def _group_norm(node: Any, importer: Any) -> relax.Var:
    """Convert ``group_norm``; TVM's own converter cannot do without weight and bias."""
    given = arguments(node)
    example = given["input"].meta["val"]
    gamma, beta = _scale_and_shift(importer, given, example.shape[1])
    x, axes = importer.env[given["input"]], list(range(2, example.dim()))
    return importer.block_builder.emit(
        relax.op.nn.group_norm(x, gamma, beta, given["num_groups"], 1, axes, given["eps"])
    )


def _layer_norm(node: Any, importer: Any) -> relax.Var:
    """Convert ``layer_norm``; TVM's own converter cannot do without weight and bias."""
    given = arguments(node)
    shape = given["normalized_shape"]
    gamma, beta = _scale_and_shift(importer, given, shape)
    x, axes = importer.env[given["input"]], list(range(-len(shape), 0))
    return importer.block_builder.emit(relax.op.nn.layer_norm(x, gamma, beta, axes, given["eps"]))


def _scale_and_shift(
    importer: Any, given: dict[str, Any], shape: Any
) -> tuple[relax.Expr, relax.Expr]:
    """Return weight and bias of a normalization: ones and zeros where it has none."""
    dtype = str(given["input"].meta["val"].dtype).removeprefix("torch.")
    gamma, beta = (
        relax.const(np.full(shape, default, dtype))
        if given[name] is None
        else importer.env[given[name]]
        for name, default in (("weight", 1), ("bias", 0))
    )
    return gamma, beta
