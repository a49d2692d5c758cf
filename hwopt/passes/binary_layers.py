"""How ``binarize`` rewrites a layer, and the ReLUs around."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from hwopt.graph import Node, Parameter, Value
from hwopt.graph.types import Operands
from hwopt.passes.layers import BINARY

if TYPE_CHECKING:
    from hwopt.graph import Graph

#: What a layer's result may pass before its ReLU.
_BETWEEN = ("add", "mul", "batch_norm", "dropout")
#: What gives nothing below zero, so that all signs behind it are +1 ...
_NON_NEGATIVE = ("relu", "relu6", "sigmoid", "hardsigmoid", "softmax")
#: ... also behind these.
_SIGNS_STAY = (
    *("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"),
    *("flatten", "reshape", "dropout", "contiguous", "clone", "concat"),
)
_SLOPE = 0.25
#: What a new batch norm begins with.
_NORM = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}


class BinarizedLayer:
    """One layer of a graph that is made binary, step by step.

    Attributes:
        end: the value that others read in place of the layer's.
    """

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.node = graph, graph.node(name)
        self.source, self.end = self.node.input, Value(name)

    def binarize(self) -> None:
        """Put shift, binary layer, scale and bias in the place of the layer."""
        graph, node = self.graph, self.node
        weight, bias = node.parameter("weight"), node.parameter("bias")
        assert weight is not None
        tensor = graph.parameter(weight)
        rank = len(node.output.shape)
        largest = tensor.abs().flatten(1).amax(1).clamp(min=1e-12)
        shape = [-1] + [1] * (tensor.dim() - 1)
        graph.set_parameter(weight, tensor / largest.view(shape))
        inputs = tensor.shape[1] * int(node.attributes.get("groups", 1))
        shift = _per_channel(graph, f"{node.name}.shift", torch.zeros(inputs), rank)
        shifted = _shifted(graph, node, self.source, shift)
        attributes = {} if node.op == "linear" else dict(node.attributes)
        operands: dict[str, Operands] = {"input": shifted, "weight": Parameter(weight)}
        binary = Node(node.name, BINARY[node.op], operands, attributes, node.outputs)
        graph.replace_node(binary)
        scale = _per_channel(graph, f"{node.name}.scale", largest, rank)
        self.append("scaled", "mul", scale)
        if bias is not None:
            name = _per_channel(graph, f"{node.name}.offset", graph.parameter(bias), rank)
            self.append("biased", "add", name)
            if not graph.parameter_users(bias):
                graph.remove_parameter(bias)

    def append(self, suffix: str, op: str, other: Operands) -> None:
        """Append an operator of the end and another operand."""
        operands: dict[str, Operands] = {"self": self.end, "other": other}
        name = f"{self.node.name}.{suffix}"
        self.end = _insert_after(self.graph, self.end, name, op, operands)

    def norm(self) -> list[str]:
        """Append a batch norm if none follows; go behind it."""
        users = self.graph.users(self.end.node)
        if len(users) == 1 and users[0].op == "batch_norm":
            self.end = Value(users[0].name)
            return []
        channels = int(self.graph.parameter(self.node.parameter("weight") or "").shape[0])
        name = self.graph.unique_name(f"{self.node.name}.norm")
        operands: dict[str, Operands] = {"input": self.end}
        for role, value in _NORM.items():
            tensor = torch.full((channels,), value)
            self.graph.set_parameter(f"{name}.{role}", tensor, trainable=role in ("weight", "bias"))
            operands[role] = Parameter(f"{name}.{role}")
        attributes = {"momentum": 0.1, "eps": 1e-5}
        self.end = _insert_after(self.graph, self.end, name, "batch_norm", operands, attributes)
        return ["a batch norm"]

    def shortcut(self) -> list[str]:
        """Add the layer's input to its end if they have one shape and are not added anyhow."""
        graph = self.graph
        if graph.spec(self.source) != self.node.output:
            return []
        sums = [user for user in graph.users(self.end.node) if user.op == "add"]
        if any(self.source in (value for _, value in user.values()) for user in sums):
            return []
        self.append("shortcut", "add", self.source)
        return ["a shortcut"]


def non_negative(graph: Graph, value: Value) -> list[Value]:
    """Return what a value comes from that has nothing below zero, shifts aside."""
    pending, found = [value], dict[Value, None]()
    while pending:
        value = pending.pop()
        producer = graph.producer(value)
        # A ReLU6 is a hardtanh from 0 to 6.
        least = producer.attributes.get("min_val", -1.0)
        if producer.op in _NON_NEGATIVE or (producer.op == "hardtanh" and least >= 0):
            found[value] = None
        elif producer.op in _SIGNS_STAY or _is_shift(producer):
            pending += [read for _, read in producer.values()]
    return list(found)


def _is_shift(node: Node) -> bool:
    return node.op == "add" and node.parameter("other") is not None


def is_behind(graph: Graph, relu: Node, ends: set[str]) -> bool:
    """Return whether a ReLU stands behind a binary layer."""
    pending, seen = [relu.input], set()
    while pending:
        value = pending.pop()
        if value.node in ends:
            return True
        producer = graph.producer(value)
        if producer.op in _BETWEEN and value not in seen:
            seen.add(value)
            pending += [read for _, read in producer.values()]
    return False


def to_prelu(graph: Graph, relu: Node) -> bool:
    """Put shift, PReLU and shift in the place of a ReLU; False if its channels are not second."""
    shape = relu.output.shape
    if len(shape) not in (2, 4) or not isinstance(shape[1], int):
        return False
    zeros = torch.zeros(shape[1])
    before = _per_channel(graph, f"{relu.name}.before", zeros, len(shape))
    shifted = _shifted(graph, relu, relu.input, before)
    slope = graph.unique_name(f"{relu.name}.slope")
    graph.set_parameter(slope, torch.full((shape[1],), _SLOPE))
    operands: dict[str, Operands] = {"self": shifted, "weight": Parameter(slope)}
    graph.replace_node(Node(relu.name, "prelu", operands, {}, relu.outputs))
    after = _per_channel(graph, f"{relu.name}.after", zeros, len(shape))
    end: dict[str, Operands] = {"self": Value(relu.name), "other": after}
    _insert_after(graph, Value(relu.name), f"{relu.name}.end", "add", end)
    return True


def _per_channel(graph: Graph, name: str, values: torch.Tensor, rank: int) -> Parameter:
    """Set a parameter with one value a channel, the second of ``rank`` dimensions."""
    name = graph.unique_name(name)
    graph.set_parameter(name, values.reshape(-1, *[1] * (rank - 2)).clone(), trainable=True)
    return Parameter(name)


def _shifted(graph: Graph, node: Node, value: Value, shift: Parameter) -> Value:
    name = graph.unique_name(f"{node.name}.shifted")
    return graph.add_node(name, "add", {"self": value, "other": shift})


def _insert_after(
    graph: Graph,
    value: Value,
    name: str,
    op: str,
    operands: Mapping[str, Operands],
    attributes: Mapping[str, Any] | None = None,
) -> Value:
    """Add a node that reads a value, and let all others that read it read the new one.

    Its result has the shape of the value: what is added to it has one number a channel.
    """
    outputs = graph.producer(value).outputs
    new = graph.add_node(graph.unique_name(name), op, operands, attributes)
    node = graph.producer(new).replace(outputs=outputs)
    graph.replace_uses(value, new)
    graph.replace_node(node)
    return new
