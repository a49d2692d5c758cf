"""The operators that passes reason about: their names, and which of them multiply."""

from __future__ import annotations

from hwopt.graph import mac_counts

MAC_COUNTS = {
    "conv1d": mac_counts.convolution,
    "conv2d": mac_counts.convolution,
    "conv3d": mac_counts.convolution,
    "conv_transpose1d": mac_counts.transposed_convolution,
    "conv_transpose2d": mac_counts.transposed_convolution,
    "conv_transpose3d": mac_counts.transposed_convolution,
    "linear": mac_counts.linear,
    "matmul": mac_counts.matmul,
    "bmm": mac_counts.matmul,
    "mm": mac_counts.matmul,
    "addmm": mac_counts.sum_with_matmul,
    "baddbmm": mac_counts.sum_with_matmul,
    "scaled_dot_product_attention": mac_counts.attention,
}

_LAYERS = """
    conv1d.default conv2d.default conv3d.default conv_transpose1d.default
    conv_transpose2d.input conv_transpose3d.input linear.default
    embedding.default layer_norm.default group_norm.default instance_norm.default
    matmul.default bmm.default mm.default addmm.default baddbmm.default
    scaled_dot_product_attention.default
"""
_ELEMENTWISE = """
    relu.default relu6.default hardtanh.default hardswish.default hardsigmoid.default
    leaky_relu.default prelu.default sigmoid.default silu.default gelu.default tanh.default
    elu.default selu.default softplus.default mish.default exp.default log.default sqrt.default
    rsqrt.default neg.default abs.default square.default reciprocal.default erf.default sin.default
    cos.default pow.Tensor_Scalar clamp.default clamp_min.default rsub.Scalar to.dtype
    contiguous.default clone.default
    add.Tensor sub.Tensor mul.Tensor div.Tensor maximum.default minimum.default where.self gt.Scalar
"""
_OVER_DIMENSIONS = """
    softmax.int log_softmax.int mean.dim sum.dim_IntList amax.default amin.default
    max_pool1d.default avg_pool1d.default adaptive_avg_pool1d.default
    max_pool2d.default avg_pool2d.default adaptive_avg_pool2d.default adaptive_max_pool2d.default
    upsample_nearest2d.vec upsample_bilinear2d.vec upsample_bicubic2d.vec
    reflection_pad2d.default replication_pad2d.default
"""
_MOVEMENT = """
    cat.default stack.default chunk.default split.Tensor split_with_sizes.default unbind.int
    select.int slice.Tensor flatten.using_ints unflatten.int reshape.default expand.default
    expand_as.default repeat.default squeeze.dim squeeze.dims squeeze.default unsqueeze.default
    permute.default transpose.int swapaxes.default movedim.int pad.default channel_shuffle.default
    pixel_shuffle.default pixel_unshuffle.default
"""
#: Where the name is not the first part of the torch operator's.
_OTHER_NAMES = {
    "cat.default": "concat",
    "squeeze.dims": "squeeze_dims",
    "squeeze.default": "squeeze_all",
}

#: From the name in a graph to the torch operator.
NAMED = {
    _OTHER_NAMES.get(target, target.partition(".")[0]): f"aten.{target}"
    for target in (_LAYERS + _ELEMENTWISE + _OVER_DIMENSIONS + _MOVEMENT).split()
}
