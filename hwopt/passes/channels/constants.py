"""What removed channels hold, and what that adds to the layers that read them.

A channel is removed by holding it at a constant: its bias, the mean that the batch norm behind it
knows (so that it puts out its shift), or the shift of a normalization over channels. The constants
are followed through the graph by running every operator on them, with NaN in place of what depends
on the input. Where a layer reads them, what they add to its output is known and goes into its bias.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from hwopt.graph import Batch, Node, Operand, Operands, Parameter, Value
from hwopt.graph.module import Operation
from hwopt.passes.base import Note
from hwopt.passes.channels.labels import Kept
from hwopt.passes.layers import OUTPUT_AXIS

if TYPE_CHECKING:
    from hwopt.graph import Graph

Carry = Literal["bias", "exact", "drop"]

_NORMS_OVER_CHANNELS = ("layer_norm", "group_norm")


@dataclass
class Constants:
    """The constants of removed channels, for a batch of one.

    Attributes:
        kept: which channels go.
        values: for every value with constants, a tensor of its shape; NaN where it varies.
    """

    kept: Kept
    values: dict[Value, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: Kept) -> Constants:
        """Follow the constants through the graph."""
        found = cls(kept)
        with torch.no_grad():
            for node in kept.labels.graph.nodes():
                found._follow(node)
        return found

    def removed(self, value: Value) -> np.ndarray:
        """Return which elements of a value go: an array that broadcasts to its shape."""
        labels = self.kept.labels.values.get(value)
        if labels is None:
            return np.zeros((1,) * len(self.kept.labels.shape(value)), dtype=bool)
        return ~self.kept.of(labels)

    def varying(self, value: Value) -> set[int]:
        """Return the classes of removed channels of a value that are no constants."""
        labels = self.kept.labels.values.get(value)
        if labels is None or not self.removed(value).any():
            return set()
        given = self.values.get(value, torch.full(self.kept.labels.shape(value), torch.nan))
        unknown = ~given.isfinite().numpy() & self.removed(value)
        spread = np.broadcast_to(self.kept.classes[labels], unknown.shape)
        return set(np.unique(spread[unknown]).tolist())

    def added(self, node: Node) -> tuple[torch.Tensor, bool]:
        """Return what removed channels add to a layer's output, and whether that is all of it.

        It is not where a removed channel is no constant, such as after a product with a map that
        depends on the input.
        """
        mask = torch.from_numpy(np.array(self.removed(node.input)))
        given = self.values.get(node.input, torch.tensor(torch.nan))
        known = mask & given.isfinite()
        inputs = torch.where(known, given, 0.0)
        inputs = inputs.expand(self.kept.labels.shape(node.input)).contiguous()
        operands = {r: self._tensor(o) for r, o in node.operands.items() if r != "bias"}
        added = Operation(node).eval()({**operands, "input": inputs}, 1)
        return added, bool((known | ~mask).all())

    def contracted(self, node: Node) -> set[int]:
        """Return the classes of removed channels that a product of two values sums over.

        Before a softmax that is no loss: all of its inputs get the same constant.
        """
        if node.op not in ("matmul", "bmm") or _feeds_softmax(self.kept.labels.graph, node):
            return set()
        found: set[int] = set()
        for axis, (_, value) in zip((-1, -2), node.values(), strict=False):
            labels = self.kept.labels.values.get(value)
            if labels is not None and labels.shape[axis] > 1 and self.removed(value).any():
                gone = self.kept.classes[labels][self.removed(value)]
                found |= set(np.unique(gone).tolist())
        return found

    def _follow(self, node: Node) -> None:
        graph = self.kept.labels.graph
        if node.op == "embedding" or (
            node.op in OUTPUT_AXIS and node.name not in self.kept.labels.separate
        ):
            if node.parameter("weight") is not None:
                self._hold(node, _produced(graph, node))
        elif node.op in _NORMS_OVER_CHANNELS:
            shift = node.parameter("bias")
            self._hold(node, torch.zeros(()) if shift is None else graph.parameter(shift))
        elif node.op == "scaled_dot_product_attention":
            self._average(node, node.operands["value"])
        elif node.op in ("matmul", "bmm") and _is_softmax(graph, node):
            self._average(node, list(node.operands.values())[1])
        elif all(False for _ in node.values()) or any(v in self.values for _, v in node.values()):
            self._run(node)

    def _hold(self, node: Node, constants: torch.Tensor) -> None:
        """Set the removed channels of a node's output."""
        value = Value(node.name)
        mask = self.removed(value)
        if not mask.any():
            return
        if constants.dim() == 1 and node.op != "layer_norm":
            axis = next(d for d, size in enumerate(mask.shape) if size > 1)
            constants = constants.reshape([-1 if d == axis else 1 for d in range(mask.ndim)])
        held = torch.where(torch.from_numpy(mask), constants, torch.nan)
        self.values[value] = held.expand(self.kept.labels.shape(value)).clone()

    def _average(self, node: Node, averaged: Operands) -> None:
        """Weights that sum to one leave a constant what it is."""
        known = self.values.get(averaged) if isinstance(averaged, Value) else None
        if known is None:
            return
        first = known[..., :1, :]
        if (known.nan_to_num() == first.nan_to_num()).all():
            shape = self.kept.labels.shape(Value(node.name))
            self.values[Value(node.name)] = first.expand(shape).clone()

    def _run(self, node: Node) -> None:
        operands = {role: self._tensor(operand) for role, operand in node.operands.items()}
        listed = [t for o in operands.values() for t in (o if isinstance(o, list) else [o])]
        if any(t is not None and not t.is_floating_point() for t in listed):
            return  # a mask or an index depends on the input
        try:
            results = Operation(node).eval()(operands, 1)
        except (RuntimeError, IndexError, ValueError):
            return  # it needs a larger batch
        for output, result in enumerate(
            results if isinstance(results, list | tuple) else [results]
        ):
            if result.is_floating_point():
                self.values[Value(node.name, output)] = result

    def _tensor(self, operand: Operands | None) -> Any:
        if isinstance(operand, tuple):
            return [self._tensor(one) for one in operand]
        if isinstance(operand, Parameter):
            return self.kept.labels.graph.parameter(operand.name)
        if operand is None or operand in self.values:
            return None if operand is None else self.values[operand]
        spec = self.kept.labels.graph.spec(operand)
        dtype = getattr(torch, spec.dtype)
        return torch.full(spec.at(), torch.nan if dtype.is_floating_point else 0, dtype=dtype)


def carry(result: Graph, kept: Kept, how: Carry) -> list[Note]:
    """Add to layers of ``result`` what removed channels gave them; return notes on what is lost.

    Args:
        result: the graph without the channels; changed in place.
        kept: which channels went.
        how: ``bias`` adds the mean over all positions to the bias, ``exact`` adds a map where the
            positions differ, as they do at zero padding; ``drop`` does nothing.
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
    _add_to_bias(result, result.node(node.name), mean)
    if not is_map:
        return []
    message = f"what removed channels add differs by up to {difference:.2g} between positions"
    return [Note(node.name, f"{message}; constants=exact keeps that", changed=False)]


def _add_to_bias(result: Graph, node: Node, added: torch.Tensor) -> None:
    """Add to the bias; without one, to the mean of a batch norm behind, or to a new bias."""
    bias = node.parameter("bias")
    after = _batch_norm_behind(result, node)
    if bias is not None and len(result.parameter_users(bias)) == 1:
        result.set_mask(bias, None)
        result.set_parameter(bias, result.parameter(bias) + added)
    elif bias is None and after is not None:
        result.set_parameter(after, result.parameter(after) - added)
    else:
        name = result.unique_name(f"{node.name}.bias")
        old = 0 if bias is None else result.parameter(bias)
        result.set_parameter(name, old + added, trainable=True)
        result.replace_node(node.with_operands(bias=Parameter(name)))


def _add_map(result: Graph, node: Node, added: torch.Tensor) -> None:
    parameter = result.unique_name(f"{node.name}.constants")
    result.set_parameter(parameter, added, trainable=False)
    value, name = Value(node.name), result.unique_name(f"{node.name}.add_constants")
    operands: dict[str, Operands] = {"self": value, "other": Parameter(parameter)}
    total = result.add_node(name, "add", operands)
    result.replace_uses(value, total)
    result.replace_node(result.node(name).with_operands(self=value))  # it alone reads the layer


def _produced(graph: Graph, node: Node) -> torch.Tensor:
    """Return the constant of every channel that a layer makes, shape (channels,)."""
    weight_name, bias_name = node.parameter("weight"), node.parameter("bias")
    assert weight_name is not None
    weight = graph.parameter(weight_name)
    if node.op == "embedding":
        return weight.mean(0)
    axis = OUTPUT_AXIS[node.op]
    bias = weight.new_zeros(weight.shape[axis]) if bias_name is None else graph.parameter(bias_name)
    behind = _batch_norm_behind(graph, node)
    if behind is None:
        return bias
    # With weights of zero the output is the bias for certain, whatever the batch norm has seen.
    is_zero = (weight == 0).all(dim=tuple(d for d in range(weight.dim()) if d != axis))
    return torch.where(is_zero, bias, graph.parameter(behind))


def _batch_norm_behind(graph: Graph, node: Node) -> str | None:
    """Return the running mean of the batch norm that alone reads a node, or None."""
    users = graph.users(node.name)
    if len(users) != 1 or users[0].op != "batch_norm" or Value(node.name) in graph.outputs.values():
        return None
    mean = users[0].parameter("running_mean")
    return mean if mean is not None and len(graph.parameter_users(mean)) == 1 else None


def _is_softmax(graph: Graph, node: Node) -> bool:
    """Say whether a product's first factor has rows that sum to one."""
    operand: Operand = next(operand for _, operand in node.flat_operands())
    while isinstance(operand, Value):
        producer = graph.producer(operand)
        if producer.op == "softmax":
            return producer.attributes["dim"] % len(producer.output.shape) == (
                len(producer.output.shape) - 1
            )
        if producer.op not in ("dropout", "contiguous", "clone"):
            return False
        operand = producer.input
    return False


def _feeds_softmax(graph: Graph, node: Node) -> bool:
    """Say whether all readers of a product scale it and then take a softmax over its rows."""
    users = graph.users(node.name)
    if not users or Value(node.name) in graph.outputs.values():
        return False
    return all(
        (
            user.op == "softmax"
            and user.attributes["dim"] % len(user.output.shape) == len(user.output.shape) - 1
        )
        or (user.op in ("mul", "div", "add", "clone", "contiguous") and _feeds_softmax(graph, user))
        for user in users
    )


def _channel_axis(kept: Kept, node: Node) -> int:
    weight = node.parameter("weight")
    assert weight is not None
    return len(node.output.shape) - (kept.labels.graph.parameter(weight).dim() - 1)


def _others(rank: int, axis: int) -> tuple[int, ...]:
    return tuple(d for d in range(rank) if d != axis)
