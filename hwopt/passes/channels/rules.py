"""The rule of every operator. What has none is a barrier."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hwopt.graph import Node, Value
from hwopt.passes.channels import attention_rules as attention
from hwopt.passes.channels import elementwise_rules as elementwise
from hwopt.passes.channels import layer_rules as layers
from hwopt.passes.channels import movement_rules as movement
from hwopt.passes.channels import recurrent_rules as recurrent
from hwopt.passes.channels.labels import ChannelLabels
from hwopt.passes.channels.removal import WEIGHT_NORM
from hwopt.passes.layers import TRANSPOSED

if TYPE_CHECKING:
    from hwopt.graph import Graph

_IN_PLACE_OF_EACH = """
    relu relu6 hardtanh hardswish hardsigmoid leaky_relu sigmoid silu gelu tanh elu selu softplus
    mish exp log sqrt rsqrt neg abs square reciprocal erf sin cos pow clamp clamp_min rsub dropout
    to contiguous clone aten.hardshrink.default aten.softshrink.default aten.celu.default
    aten.log_sigmoid.default aten.softsign.default aten.tanhshrink.default aten.threshold.default
    aten.logsigmoid.default aten.clamp_max.default aten.round.default aten.floor.default
    aten.ceil.default aten.sign.default aten.exp2.default aten.log1p.default aten.expm1.default
    aten.feature_dropout.default aten.add.Scalar aten.mul.Scalar aten.sub.Scalar aten.div.Scalar
"""
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_ARITHMETIC = "add sub mul div maximum minimum where gt"
_OF_SEVERAL = (
    *_ARITHMETIC.split(),
    *(f"aten.where.{kind}" for kind in ("ScalarOther", "ScalarSelf", "Scalar")),
    *(f"aten.{name}.{kind}" for name in _COMPARISONS for kind in ("Tensor", "Scalar")),
    *(f"aten.logical_{name}.default" for name in ("and", "or", "xor", "not")),
)
_MOVEMENT = """
    flatten permute transpose swapaxes movedim unsqueeze squeeze squeeze_dims squeeze_all repeat
    pixel_unshuffle
"""
_OVER_TWO = """
    max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d upsample_nearest2d
    upsample_bilinear2d upsample_bicubic2d reflection_pad2d replication_pad2d
"""
_OVER_THREE = """
    aten.max_pool3d.default aten.avg_pool3d.default aten.adaptive_avg_pool3d.default
    aten.adaptive_max_pool3d.default aten.max_pool3d_with_indices.default
    aten.upsample_nearest3d.vec aten.upsample_trilinear3d.vec
"""
_REDUCTIONS = """
    mean sum amax amin aten.linalg_vector_norm.default aten.norm.ScalarOpt_dim
    aten.norm.ScalarOpt_dim_dtype aten.var.correction aten.std.correction aten.var.dim aten.std.dim
"""

_RULES: dict[str, Callable[[ChannelLabels, Node], None]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), layers.convolution),
    **dict.fromkeys(TRANSPOSED, layers.transposed_convolution),
    "linear": layers.linear,
    "embedding": layers.embedding,
    "recurrent": recurrent.cell,
    # Its tensors are labelled by the layers that read the weight.
    WEIGHT_NORM: lambda labels, node: None,
    **dict.fromkeys(("batch_norm", "instance_norm"), layers.per_channel_norm),
    "group_norm": layers.group_norm,
    **dict.fromkeys(("layer_norm", "aten.rms_norm.default"), layers.layer_norm),
    **dict.fromkeys(_IN_PLACE_OF_EACH.split(), elementwise.hand_on),
    **dict.fromkeys(_OF_SEVERAL, elementwise.elementwise),
    **dict.fromkeys(("advection_diffusion", "interpolate_anchors"), elementwise.of_images),
    "prelu": elementwise.parametric_relu,
    **dict.fromkeys(_OVER_TWO.split(), elementwise.spatial(2)),
    **dict.fromkeys(("max_pool1d", "avg_pool1d", "adaptive_avg_pool1d"), elementwise.spatial(1)),
    **dict.fromkeys(_OVER_THREE.split(), elementwise.spatial(3)),
    **dict.fromkeys(_REDUCTIONS.split(), elementwise.reduction),
    "aten.glu.default": elementwise.gated,
    **dict.fromkeys(("softmax", "log_softmax"), elementwise.softmax),
    **dict.fromkeys(_MOVEMENT.split(), movement.move),
    **dict.fromkeys(("reshape", "unflatten"), movement.reshape),
    "expand": movement.expand,
    "expand_as": movement.expand_as,
    **dict.fromkeys(("chunk", "split", "split_with_sizes"), movement.split),
    **dict.fromkeys(("select", "unbind"), movement.select),
    **dict.fromkeys(("concat", "stack"), movement.concat),
    "slice": movement.take_slice,
    "pad": movement.pad,
    # Of their operand they take the type only.
    **dict.fromkeys(("aten.new_zeros.default", "aten.new_ones.default"), lambda labels, node: None),
    **dict.fromkeys(("aten.roll.default", "aten.flip.default"), movement.roll),
    "channel_shuffle": movement.channel_shuffle,
    "pixel_shuffle": movement.pixel_shuffle,
    **dict.fromkeys(("matmul", "bmm", "mm"), attention.matmul),
    "scaled_dot_product_attention": attention.attention,
}


def _moves_a_vector(graph: Graph, node: Node) -> bool:
    """Say whether a parameter is handed on whose only axis can be that of channels."""
    if node.op in ("expand", "repeat", "embedding"):
        return True
    if node.op == "concat":  # such as the biases of queries, keys and values
        return all(len(graph.spec(operand).shape) == 1 for _, operand in node.flat_operands())
    handed_on = ("reshape", "unsqueeze", *_MOVEMENT.split(), *_IN_PLACE_OF_EACH.split())
    is_moved = node.op in handed_on
    shapes = [graph.parameter(name).shape for _, name in node.parameters()]
    return is_moved and all(sum(size > 1 for size in shape) == 1 for shape in shapes)


def label_channels(graph: Graph, *, whole_parts: bool = False) -> ChannelLabels:
    """Walk the graph and label the channels of every value.

    Args:
        graph: what to walk.
        whole_parts: where channels are split into groups or heads, remove whole ones; otherwise
            narrow all of them alike.
    """
    labels = ChannelLabels(graph, whole_parts)
    for node in graph.nodes():
        rule = _RULES.get(node.op)
        if rule is None:
            labels.barrier(node, f"{node.name} ({node.op}) has no rule for channels")
        elif any(True for _ in node.values()) or _moves_a_vector(graph, node):
            rule(labels, node)
    for operand in graph.outputs.values():
        if isinstance(operand, Value) and operand in labels.values:
            labels.pin(labels.values[operand], "they are an output of the model")
    return labels
