"""Layers that read channels and whose weights can be fitted: what they multiply and add to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from hwopt.graph import Batch, Node, Value

if TYPE_CHECKING:
    from hwopt.graph import Graph

#: Of more columns the matrix of second moments is too large to be inverted in reasonable time.
MOST_COLUMNS = 8192
#: Positions of a sample that are looked at, about: neighbours hardly differ.
_POSITIONS = 200

_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")


@dataclass(frozen=True)
class Reader:
    """A layer that mixes all channels of its input by a weight of its own.

    Attributes:
        node: the layer: a convolution without groups, or a linear one.
        weight: the name of its weight.
        shape: of the weight: (outputs, inputs, *kernel).
        end: the value behind the layer up to which all is affine: the sum of a residual block, else
            the output of a batch norm, else that of the layer.
        scale: what the layer's outputs are multiplied by until there, shape (outputs,).
    """

    node: Node
    weight: str
    shape: tuple[int, ...]
    end: Value
    scale: torch.Tensor

    @classmethod
    def of(cls, graph: Graph, node: Node) -> Reader | None:
        """Return a node as a reader; None if it is none, or its weight is not free to change."""
        name = node.parameter("weight")
        is_layer = node.op == "linear" or (
            node.op in _CONVOLUTIONS and node.attributes["groups"] == 1
        )
        if not is_layer or name is None or not isinstance(node.operands["input"], Value):
            return None
        is_free = not (graph.is_buffer(name) or graph.is_frozen(name) or name in graph.masks)
        if not is_free or name in graph.codebooks or len(graph.parameter_users(name)) > 1:
            return None
        shape = tuple(graph.parameter(name).shape)
        rank = len(node.output.shape)
        is_batched = rank > 1 if node.op == "linear" else rank == len(shape)
        if not is_batched or math.prod(shape[1:]) > MOST_COLUMNS:
            return None
        end = _end(graph, node, shape[0])
        return end and cls(node, name, shape, *end)

    def inputs(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return what the weight is multiplied by: from the layer's input to (rows, columns)."""
        if self.node.op == "linear":
            return tensor.flatten(0, -2)[:: self._step]
        kernel, a = self.shape[2:], self.node.attributes
        tensor = functional.pad(tensor, [p for one in reversed(a["padding"]) for p in (one, one)])
        for d, size in enumerate(kernel):
            window = (size - 1) * a["dilation"][d] + 1
            tensor = tensor.unfold(2 + d, window, a["stride"][d] * self._step)
            tensor = tensor[..., :: a["dilation"][d]]
        return tensor.movedim(1, 1 + len(kernel)).flatten(1 + len(kernel)).flatten(0, -2)

    def outputs(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a value of the shape of the output as (rows, outputs), the rows as of inputs."""
        if self.node.op == "linear":
            return tensor.flatten(0, -2)[:: self._step]
        positions = (slice(None, None, self._step),) * (tensor.dim() - 2)
        return tensor[(slice(None), slice(None), *positions)].movedim(1, -1).flatten(0, -2)

    @property
    def channel_axis(self) -> int:
        """The axis of the channels in the layer's input and output, from the end."""
        return -1 if self.node.op == "linear" else 1 - len(self.shape)

    @property
    def _step(self) -> int:
        """How many positions apart those are that are looked at, along every dimension."""
        shape = self.node.output.shape
        inner = shape[1:-1] if self.node.op == "linear" else shape[2:]
        positions = math.prod(int(size) for size in inner if not isinstance(size, Batch))
        dimensions = 1 if self.node.op == "linear" else len(inner)
        return max(1, math.ceil((positions / _POSITIONS) ** (1 / dimensions)))


def _end(graph: Graph, node: Node, channels: int) -> tuple[Value, torch.Tensor] | None:
    """Follow a layer through a batch norm and into a residual sum; None if it cannot be done."""
    end, scale = node, torch.ones(channels)
    behind = _only_user(graph, node)
    if behind is not None and behind.op == "batch_norm":
        found = _scale(graph, behind, channels)
        if found is None or (node.op == "linear" and len(node.output.shape) != 2):
            return None
        end, scale = behind, found
    total = _only_user(graph, end)
    if total is not None and total.op == "add" and total.attributes.get("alpha", 1) == 1:
        others = [value for _, value in total.values() if value.node != end.name]
        if len(others) == 1 and graph.spec(others[0]).shape == end.output.shape:
            end = total
    return Value(end.name), scale


def _scale(graph: Graph, norm: Node, channels: int) -> torch.Tensor | None:
    """Return what a batch norm multiplies every channel by; None if that is no constant."""
    weight, variance = norm.parameter("weight"), norm.parameter("running_var")
    has_weight = norm.operands.get("weight") is not None
    if variance is None or norm.attributes.get("training") or (has_weight and weight is None):
        return None
    scale = torch.ones(channels) if weight is None else graph.parameter(weight)
    return scale / (graph.parameter(variance) + norm.attributes["eps"]).sqrt()


def _only_user(graph: Graph, node: Node) -> Node | None:
    users = graph.users(node.name)
    is_output = Value(node.name) in graph.outputs.values()
    return users[0] if len(users) == 1 and not is_output else None
