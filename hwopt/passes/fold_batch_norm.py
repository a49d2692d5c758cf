"""``fold-batch-norm``: put a batch norm into the convolution or linear layer before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hwopt.graph import Node, Parameter, Value
from hwopt.graph.cleanup import remove_unused
from hwopt.passes.base import Context, Note, Pass, PassResult
from hwopt.passes.layers import OUTPUT_AXIS, TRANSPOSED

if TYPE_CHECKING:
    from hwopt.graph import Graph


@dataclass(frozen=True)
class FoldBatchNorm(Pass):
    """Fold every batch norm that directly follows a convolution or a linear layer.

    With scale s = gamma / sqrt(running_var + eps), the weight becomes s * weight and the bias
    s * (bias - running_mean) + beta, computed in float64. The function in eval mode stays; in
    training mode there are no batch statistics any more, so fold after training.
    """

    name = "fold-batch-norm"
    preserves_function = True

    def ensures(self, graph: Graph) -> str | None:
        """Return a batch norm that can still be folded."""
        for node in graph.nodes("batch_norm"):
            if obstacle(graph, node) is None:
                return f"{node.name} can be folded: apply {self.name} first"
        return None

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with foldable batch norms folded."""
        result = graph.copy()
        notes = []
        for name in [node.name for node in graph.nodes("batch_norm")]:
            node = result.node(name)  # it may follow one that was folded
            reason = obstacle(result, node)
            if reason is None:
                into = result.producer(node.input)
                _fold(result, into, node)
                notes.append(Note(node.name, f"folded into {into.name}", changed=True))
            else:
                notes.append(Note(node.name, reason, changed=False))
        if not any(note.changed for note in notes):
            return PassResult(graph, modified=False, notes=tuple(notes))
        remove_unused(result)
        return PassResult(result, modified=True, notes=tuple(notes))


def obstacle(graph: Graph, batch_norm: Node) -> str | None:
    """Return why a batch norm cannot be folded into its producer, or None."""
    producer = graph.producer(batch_norm.input)
    weight = producer.parameter("weight")
    if producer.op not in OUTPUT_AXIS:
        return f"its input comes from {producer.name} ({producer.op})"
    if weight is None:
        return f"the weight of {producer.name} is computed"
    if producer.op in TRANSPOSED and producer.attributes["groups"] != 1:
        return f"{producer.name} is a grouped transposed convolution"
    if producer.op == "linear" and len(producer.output.shape) != 2:
        return (
            f"{producer.name} has its channels in the last dimension, the batch norm in the second"
        )
    if len(graph.users(producer.name)) > 1 or Value(producer.name) in graph.outputs.values():
        return f"the output of {producer.name} has other readers"
    if batch_norm.parameter("running_mean") is None:
        return "it has no running statistics"
    for role in ("weight", "bias"):
        shared = producer.parameter(role)
        if shared is not None and len(graph.parameter_users(shared)) > 1:
            return f"{shared} is shared by several nodes"
    if weight in graph.codebooks:
        return f"{weight} has a codebook, which a scale for every channel would break"
    return None


def scale_and_shift(graph: Graph, batch_norm: Node) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a batch norm multiplies every channel by, and adds to it then; float64 (C)."""

    def statistics(role: str, default: float) -> torch.Tensor:
        name = batch_norm.parameter(role)
        return torch.full_like(mean, default) if name is None else graph.parameter(name).double()

    mean_name = batch_norm.parameter("running_mean")
    assert mean_name is not None
    mean = graph.parameter(mean_name).double()
    variance = statistics("running_var", 1.0)
    scale = statistics("weight", 1.0) / torch.sqrt(variance + batch_norm.attributes["eps"])
    return scale, statistics("bias", 0.0) - mean * scale


def _fold(graph: Graph, into: Node, batch_norm: Node) -> None:
    scale, shift = scale_and_shift(graph, batch_norm)
    weight_name = into.parameter("weight")
    assert weight_name is not None
    weight = graph.parameter(weight_name)
    shape = [1] * weight.dim()
    shape[OUTPUT_AXIS[into.op]] = -1
    graph.set_parameter(weight_name, (weight.double() * scale.view(shape)).to(weight.dtype))

    bias_name = into.parameter("bias")
    bias = torch.zeros_like(shift) if bias_name is None else graph.parameter(bias_name).double()
    frozen = None  # a bias that is there stays what it is; a new one is as its weight
    if bias_name is None:
        bias_name = graph.unique_name(f"{into.name}.bias")
        frozen = graph.is_frozen(weight_name)
    folded = bias * scale + shift
    if bias_name in graph.masks:
        graph.set_mask(bias_name, None)  # the shift of the norm is not held at zero
    graph.set_parameter(bias_name, folded.to(weight.dtype), trainable=True, frozen=frozen)
    graph.replace_node(into.with_operands(bias=Parameter(bias_name)))
    graph.replace_uses(Value(batch_norm.name), Value(into.name))
    graph.remove_node(batch_norm.name)
