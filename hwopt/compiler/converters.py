"""Operators that TVM's importer does not know, or that it cannot make loops of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tvm import relax, topi

from hwopt.compiler import spatial_operators

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
        "layer_norm.default": _layer_norm,
        "scaled_dot_product_attention.default": _attention,
        "var.dim": _variance,
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
        x, dim, keepdim = _arguments(node, importer, ("dim", "keepdim"))
        axis = None if dim in (None, []) else dim
        return importer.block_builder.emit(operator(x, axis, bool(keepdim)))

    return convert


def legalizations() -> dict[str, Callable[..., Any]]:
    """Return how operators become loops that TVM cannot make loops of."""
    return {"relax.nn.conv2d_transpose": _transposed_convolution}


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
    names = ("weight", "stride", "padding", "dilation", "groups")
    x, weight, stride, padding, dilation, groups = _arguments(node, importer, names)
    return importer.block_builder.emit(
        relax.op.nn.conv2d(
            _signs(x, importer),
            importer.env[weight],
            strides=list(stride or (1, 1)),
            padding=list(padding or (0, 0)),
            dilation=list(dilation or (1, 1)),
            groups=1 if groups is None else groups,
        )
    )


def _binary_linear(node: Any, importer: Any) -> relax.Var:
    """Convert to a product with :func:`_signs`, which becomes a kernel on bits later."""
    x, weight = _arguments(node, importer, ("weight",))
    transposed = relax.op.permute_dims(importer.env[weight])
    return importer.block_builder.emit(relax.op.matmul(_signs(x, importer), transposed))


def _signs(x: relax.Expr, importer: Any) -> relax.Var:
    """Return 2 (x >= 0) - 1: TVM's own sign of zero is zero."""
    emit, dtype = importer.block_builder.emit, x.ty.dtype.dtype
    at_least_zero = relax.op.greater_equal(x, relax.const(0, dtype))
    ones = relax.op.multiply(relax.op.astype(at_least_zero, dtype), relax.const(2, dtype))
    return emit(relax.op.subtract(emit(ones), relax.const(1, dtype)))


def _subtracted_from(node: Any, importer: Any) -> relax.Var:
    """Convert ``rsub``: a whole number minus floats is refused by TVM's own converter."""
    x, number, alpha = _arguments(node, importer, ("other", "alpha"))
    emit, dtype = importer.block_builder.emit, x.ty.dtype.dtype
    if alpha not in (None, 1):
        x = emit(relax.op.multiply(x, relax.const(alpha, dtype)))
    return emit(relax.op.subtract(relax.const(number, dtype), x))


def _reshape(node: Any, importer: Any) -> relax.Var:
    shape = list(node.meta["val"].shape)
    return importer.block_builder.emit(relax.op.reshape(importer.env[node.args[0]], shape))


def _attention(node: Any, importer: Any) -> relax.Var:
    """Convert ``scaled_dot_product_attention``; TVM's own converter forgets the scale."""
    op, emit = relax.op, importer.block_builder.emit
    given = dict(zip(("attn_mask", "dropout_p", "is_causal"), node.args[3:], strict=False))
    given |= node.kwargs
    query, key, value = (importer.env[argument] for argument in node.args[:3])
    examples = [argument.meta["val"] for argument in node.args[:3]]
    width, dtype = examples[0].shape[-1], str(examples[0].dtype).removeprefix("torch.")
    if given.get("enable_gqa"):
        copies = examples[0].shape[-3] // examples[1].shape[-3]
        key, value = (emit(op.repeat(x, copies, len(examples[0].shape) - 3)) for x in (key, value))
    axes = list(range(examples[0].dim()))
    transposed = op.permute_dims(key, [*axes[:-2], axes[-1], axes[-2]])
    scale = width**-0.5 if given.get("scale") is None else given["scale"]
    scores = emit(op.matmul(op.multiply(query, relax.const(scale, dtype)), transposed))
    mask = given.get("attn_mask")
    if given.get("is_causal"):
        allowed = np.tril(np.ones((examples[0].shape[-2], examples[1].shape[-2]), bool))
        scores = op.add(scores, relax.const(np.where(allowed, 0, -np.inf).astype(dtype)))
    elif mask is not None and mask.meta["val"].dtype == torch.bool:
        scores = op.where(importer.env[mask], scores, relax.const(-np.inf, dtype))
    elif mask is not None:
        scores = op.add(scores, importer.env[mask])
    return emit(op.matmul(emit(op.nn.softmax(scores, axis=-1)), value))


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
    gamma, beta = _scale_and_shift(importer, weight, bias, example.shape[1], example.dtype)
    axes = list(range(2, example.dim()))
    return importer.block_builder.emit(
        relax.op.nn.group_norm(x, gamma, beta, groups, 1, axes, epsilon or 1e-5)
    )


def _layer_norm(node: Any, importer: Any) -> relax.Var:
    """Convert ``layer_norm``; TVM's own converter cannot do without weight and bias."""
    names = ("normalized_shape", "weight", "bias", "eps")
    x, shape, weight, bias, epsilon = _arguments(node, importer, names)
    dtype = node.args[0].meta["val"].dtype
    gamma, beta = _scale_and_shift(importer, weight, bias, shape, dtype)
    axes = list(range(-len(shape), 0))
    return importer.block_builder.emit(
        relax.op.nn.layer_norm(x, gamma, beta, axes, 1e-5 if epsilon is None else epsilon)
    )


def _scale_and_shift(
    importer: Any, weight: Any, bias: Any, shape: Any, dtype: torch.dtype
) -> tuple[relax.Expr, relax.Expr]:
    """Return weight and bias of a normalization: ones and zeros where it has none."""
    name = str(dtype).removeprefix("torch.")
    gamma, beta = (
        relax.const(np.full(shape, default, name)) if given is None else importer.env[given]
        for given, default in ((weight, 1), (bias, 0))
    )
    return gamma, beta


def _arguments(node: Any, importer: Any, names: tuple[str, ...]) -> list[Any]:
    """Return the converted input and the other arguments by position or by name."""
    given = dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)
    return [importer.env[node.args[0]], *(given.get(name) for name in names)]
