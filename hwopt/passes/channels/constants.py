"""What removed channels hold, and what that adds to the layers that read them.

A channel is removed by holding it at a constant: its bias, the mean that the batch norm behind it
knows (so that it puts out its shift), or the shift of a normalization over channels. The constants
are followed through the graph by running every operator on them, with NaN in place of what depends
on the input. Where a layer reads them, what they add to its output is known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hwopt.graph import Node, Operand, Operands, Parameter, Value
from hwopt.graph.module import Operation
from hwopt.passes.channels.labels import Kept
from hwopt.passes.channels.removal import WEIGHT_NORM
from hwopt.passes.layers import OUTPUT_AXIS

if TYPE_CHECKING:
    from hwopt.graph import Graph

_OVER_LAST = ("layer_norm", "aten.rms_norm.default")
_NORMS_OVER_CHANNELS = (*_OVER_LAST, "group_norm")


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
            if _weight_is_known(graph, node):
                self._hold(node, self._produced(node))
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
        if constants.dim() == 1 and node.op not in _OVER_LAST:
            varying = [d for d, size in enumerate(mask.shape) if size > 1]
            axis = 1 if node.op == "group_norm" else varying[0]
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
            if len(shape) > 3:  # grouped queries share heads
                first = first.repeat_interleave(shape[-3] // first.shape[-3], -3)
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

    def _produced(self, node: Node) -> torch.Tensor:
        """Return the constant of every channel that a layer makes, shape (channels,)."""
        graph = self.kept.labels.graph
        weight = self._tensor(node.operands["weight"])
        if node.op == "embedding":
            return weight.mean(0)
        by_channel = _by_channel(node, weight)
        bias = self._tensor(node.operands.get("bias"))
        if bias is None:
            bias = weight.new_zeros(len(by_channel))
        behind = batch_norm_behind(graph, node)
        if behind is None:
            return bias
        # With weights of zero the output is the bias for certain, whatever the norm has seen.
        return torch.where((by_channel == 0).all(1), bias, graph.parameter(behind))

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


def _weight_is_known(graph: Graph, node: Node) -> bool:
    """Say whether a layer's weight is a parameter, or a parameter that is normalized."""
    weight = node.operands["weight"]
    is_normed = isinstance(weight, Value) and graph.producer(weight).op == WEIGHT_NORM
    return is_normed or isinstance(weight, Parameter)


def _by_channel(node: Node, weight: torch.Tensor) -> torch.Tensor:
    """Return the weights that make each channel of a layer's output, shape (channels, others)."""
    if OUTPUT_AXIS[node.op] == 1:  # (inputs, channels of a group, ...), group after group
        grouped = weight.unflatten(0, (node.attributes["groups"], -1))
        weight = grouped.movedim(2, 1).flatten(0, 1)
    return weight.flatten(1)


def batch_norm_behind(graph: Graph, node: Node) -> str | None:
    """Return the running mean of the batch norm that alone reads a node, or None."""
    users = graph.users(node.name)
    if len(users) != 1 or users[0].op != "batch_norm" or Value(node.name) in graph.outputs.values():
        return None
    if users[0].attributes.get("training"):
        return None  # it takes the mean of the batch
    # Channels of a linear layer are its last dimension, those of a batch norm always the second.
    if node.op == "linear" and len(node.output.shape) != 2:
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
