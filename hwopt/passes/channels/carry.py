"""What removed channels gave the layers that read them goes into the biases of those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from hwopt.graph import Batch, Node, Operands, Parameter, Value
from hwopt.passes.base import Note
from hwopt.passes.channels.constants import Constants, batch_norm_behind
from hwopt.passes.channels.labels import Kept
from hwopt.passes.layers import OUTPUT_AXIS

if TYPE_CHECKING:
    from hwopt.graph import Graph

Carry = Literal["bias", "exact", "drop", "least-squares"]


def carry(result: Graph, kept: Kept, how: Carry) -> list[Note]:
    """Add to layers of ``result`` what removed channels gave them; return notes on what is lost.

    Args:
        result: the graph without the channels; changed in place.
        kept: which channels went.
        how: ``bias`` adds the mean over all positions to the bias, ``exact`` adds a map where the
            positions differ, as they do at zero padding; ``drop`` does nothing;
            ``least-squares`` is as ``bias``, and the layers are fitted later.
    """
    if how == "drop":
        return []
    constants = Constants.of(kept)
    notes = []
    for node in kept.labels.graph.nodes():
        if constants.contracted(node):
            message = "what removed channels add to this product is lost"
            notes.append(Note(node.name, message, changed=False))
        if node.op not in OUTPUT_AXIS or node.name in kept.labels.separate:
            continue
        if not any(True for _ in node.values()):
            continue  # it reads a parameter
        if node.name not in result or not constants.removed(node.input).any():
            continue
        with torch.no_grad():
            added, complete = constants.added(node)
        if not complete:
            message = "removed channels that it reads are no constants; they count as zero"
            notes.append(Note(node.name, message, changed=False))
        if added.any():
            notes += _add(result, kept, node, added, how)
    return notes


def _add(result: Graph, kept: Kept, node: Node, added: torch.Tensor, how: Carry) -> list[Note]:
    value = Value(node.name)
    axis = added.dim() - 1 if node.op == "linear" else _channel_axis(kept, node)
    labels = np.broadcast_to(kept.labels.values[value], kept.labels.shape(value))
    stays = kept.of(labels).any(axis=_others(added.dim(), axis))
    added = added.index_select(axis, torch.from_numpy(np.flatnonzero(stays)))
    mean = added.mean(_others(added.dim(), axis)) if added.dim() > 1 else added
    shape = [-1 if d == axis else 1 for d in range(added.dim())]
    difference = (added - mean.reshape(shape)).abs().max().item()
    is_map = difference > 1e-6 * max(1.0, added.abs().max().item())
    # A map fits the batch only where that is a dimension by itself.
    sizes = [d for d in node.output.shape if isinstance(d, Batch)]
    if is_map and how == "exact" and all(size.multiple == 1 for size in sizes):
        _add_map(result, node, added)
        return []
    add_to_bias(result, result.node(node.name), mean)
    if not is_map or how == "least-squares":
        return []
    message = f"what removed channels add differs by up to {difference:.2g} between positions"
    return [Note(node.name, f"{message}; constants=exact keeps that", changed=False)]


def add_to_bias(result: Graph, node: Node, added: torch.Tensor) -> None:
    """Add to a layer's bias; without one, to the mean of a batch norm behind, or to a new bias."""
    bias = node.parameter("bias")
    after = batch_norm_behind(result, node)
    if bias is not None and len(result.parameter_users(bias)) == 1:
        result.set_mask(bias, None)
        result.set_parameter(bias, result.parameter(bias) + added)
    elif bias is None and after is not None:
        result.set_parameter(after, result.parameter(after) - added)
    elif isinstance(node.operands.get("bias"), Value):  # it is computed, and stays so
        parameter = result.unique_name(f"{node.name}.constants")
        result.set_parameter(parameter, added, trainable=True)
        operands = {"self": node.operands["bias"], "other": Parameter(parameter)}
        total = result.add_node(result.unique_name(f"{node.name}.add_constants"), "add", operands)
        result.replace_node(node.with_operands(bias=total))
    else:
        name = result.unique_name(f"{node.name}.bias")
        old = 0 if bias is None else result.parameter(bias)
        weight = node.parameter("weight")
        frozen = weight is not None and result.is_frozen(weight)
        result.set_parameter(name, old + added, trainable=True, frozen=frozen)
        result.replace_node(node.with_operands(bias=Parameter(name)))


def _add_map(result: Graph, node: Node, added: torch.Tensor) -> None:
    parameter = result.unique_name(f"{node.name}.constants")
    result.set_parameter(parameter, added, trainable=False)
    value, name = Value(node.name), result.unique_name(f"{node.name}.add_constants")
    operands: dict[str, Operands] = {"self": value, "other": Parameter(parameter)}
    total = result.add_node(name, "add", operands)
    result.replace_uses(value, total)
    result.replace_node(result.node(name).with_operands(self=value))  # it alone reads the layer


def _channel_axis(kept: Kept, node: Node) -> int:
    weight = kept.labels.graph.spec(node.operands["weight"]).shape
    return len(node.output.shape) - (len(weight) - 1)


def _others(rank: int, axis: int) -> tuple[int, ...]:
    return tuple(d for d in range(rank) if d != axis)
