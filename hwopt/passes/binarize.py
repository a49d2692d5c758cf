"""``binarize``: layers that multiply signs, with what training them needs around."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from hwopt.errors import HwoptError
from hwopt.graph import Node, Parameter, Value
from hwopt.graph.types import Operands
from hwopt.passes.base import Context, Note, Pass, PassResult
from hwopt.passes.layers import BINARY, is_chosen, notes_on_unknown

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


@dataclass(frozen=True)
class Binarize(Pass):
    """Let convolutions and linear layers read signs, and prepare the network for training so.

    A chosen layer becomes: a shift of every input channel, the binary layer, a scale of every
    output channel, its bias if it has one, a batch norm if none follows, and a shortcut around all
    of it where the shape stays the same. A ReLU before or behind, poolings and the like between
    them, becomes a shift, a PReLU and a shift: after a ReLU all signs are +1. Source: the network
    of Paren et al. 2022 (BNEW), as in ReActNet (Liu et al. 2020).

    The weights stay real, each output channel divided by its largest, which goes into the scale.
    Train with ``hwopt.train.BinaryPull`` (or ``StraightThrough``, ...), then
    ``freeze-binary``; only then the layers are compiled to kernels that count bits. The input's
    signs lose so much that the network has to be trained anyhow.

    Options:
        layers: only layers whose name begins with one of these; all if empty.
        exclude: not those whose name begins with one of these.
        keep_first, keep_last: leave the first or the last layer of the network as it is.
        keep_pointwise: leave 1x1 convolutions as they are: shortcuts, mostly.
        smallest: leave layers with less input features to a sum than this: of few, bits save
            little.
        min_gain: leave layers by which, alone, the measured latency falls by less than this share;
            0 measures nothing.
        shortcuts: put a shortcut around binary layers that keep the shape.
        activation: ``prelu``, or ``keep`` every ReLU.

    Raises:
        HwoptError: if an option is out of range.

    >>> str(Binarize(keep_last=False))
    'binarize{keep_last=false}'
    """

    name = "binarize"

    layers: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    keep_first: bool = True
    keep_last: bool = True
    keep_pointwise: bool = True
    smallest: int = 32
    min_gain: float = 0.0
    shortcuts: bool = True
    activation: Literal["prelu", "keep"] = "prelu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.smallest < 1:
            raise HwoptError(f"pass {self.name}: smallest must be at least 1, not {self.smallest}")
        if not 0 <= self.min_gain < 1:
            raise HwoptError(f"pass {self.name}: min_gain must be in [0, 1), not {self.min_gain}")

    @property
    def needs_latency(self) -> bool:
        """Whether gains are to be measured."""
        return self.min_gain > 0

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with binary layers."""
        layers = [n for n in graph.nodes() if n.op in BINARY or n.op in BINARY.values()]
        candidates = [node for node in layers if node.op in BINARY]
        notes = notes_on_unknown((*self.layers, *self.exclude), [n.name for n in candidates])
        chosen = []
        for node in candidates:
            reason = self._obstacle(graph, node, layers)
            if reason is None:
                chosen.append(node)
            else:
                notes.append(Note(node.name, reason, changed=False))
        if self.min_gain > 0 and chosen:
            chosen, slow = self._worth_it(graph, chosen, context)
            notes += slow
        if not chosen:
            return PassResult(graph, modified=False, notes=tuple(notes))
        result, more = self._binarized(graph, chosen)
        return PassResult(result, modified=True, notes=(*notes, *more))

    def candidates(self, graph: Graph, context: Context) -> list[Pass]:
        """Return this pass without measuring, if it changes something."""
        instance = dataclasses.replace(self, min_gain=0.0)
        return [instance] if instance.apply(graph, context).modified else []

    def _obstacle(self, graph: Graph, node: Node, all_layers: list[Node]) -> str | None:
        """Return why a layer stays as it is, or None."""
        if not is_chosen(node.name, self.layers, self.exclude):
            return "not among those chosen"
        weight = node.parameter("weight")
        if weight is None or not graph.is_trainable(weight):
            return "its weight is computed or fixed"
        if len(graph.parameter_users(weight)) > 1:
            return "its weight is shared"
        if weight in graph.masks or weight in graph.codebooks:
            return "its weight has a mask or a codebook, which signs have not"
        if node is all_layers[0] and self.keep_first:
            return "the first layer: keep_first"
        if node is all_layers[-1] and self.keep_last:
            return "the last layer: keep_last"
        if node.attributes.get("groups", 1) != 1:
            return "grouped: its sums are too short for bits"
        shape = graph.parameter(weight).shape
        if node.op == "conv2d" and tuple(shape[2:]) == (1, 1) and self.keep_pointwise:
            return "a 1x1 convolution: keep_pointwise"
        if shape[1:].numel() < self.smallest:
            return f"only {shape[1:].numel()} products a sum: smallest={self.smallest}"
        if node.op == "linear" and len(node.output.shape) != 2:
            return "a linear layer on more than one vector a sample"
        return None

    def _worth_it(
        self, graph: Graph, chosen: list[Node], context: Context
    ) -> tuple[list[Node], list[Note]]:
        """Measure every layer alone; return those worth it, and notes on the others."""
        from hwopt.passes.freeze_binary import FreezeBinary

        assert context.latency is not None
        variants = [
            FreezeBinary().apply(self._binarized(graph, [node])[0], context).graph
            for node in chosen
        ]
        dense, *latencies = context.latency([graph, *variants])
        gains = [1 - latency / dense for latency in latencies]
        found = list(zip(chosen, gains, strict=True))
        notes = [
            Note(node.name, f"alone it saves {gain:.1%} of the latency: min_gain", changed=False)
            for node, gain in found
            if gain < self.min_gain
        ]
        return [node for node, gain in found if gain >= self.min_gain], notes

    def _binarized(self, graph: Graph, chosen: list[Node]) -> tuple[Graph, list[Note]]:
        result = graph.copy()
        notes, ends = [], set()
        for node in chosen:
            layer = _Layer(result, node.name)
            layer.binarize()
            extra = layer.norm() + (layer.shortcut() if self.shortcuts else [])
            ends.add(layer.end.node)
            notes.append(Note(node.name, ", ".join(["binary", *extra]), changed=True))
        if self.activation == "prelu":
            before = {
                value.node
                for node in chosen
                for value in _non_negative(result, result.node(node.name).input)
            }
            notes += [
                Note(relu.name, "a PReLU with shifts", changed=True)
                for relu in result.nodes("relu")
                if (relu.name in before or _is_behind(result, relu, ends))
                and _to_prelu(result, relu)
            ]
        for node in chosen:
            for value in _non_negative(result, result.node(node.name).input):
                message = f"never negative: all signs that {node.name} reads begin as +1"
                notes.append(Note(value.node, message, changed=False))
        result.infer_shapes()
        return result, notes


class _Layer:
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
        inputs = graph.spec(self.source).shape[1]
        assert isinstance(inputs, int)
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


_NORM = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}


def _non_negative(graph: Graph, value: Value) -> list[Value]:
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


def _is_behind(graph: Graph, relu: Node, ends: set[str]) -> bool:
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


def _to_prelu(graph: Graph, relu: Node) -> bool:
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
    """Add a node that reads a value, and let all others that read it read the new one."""
    new = graph.add_node(graph.unique_name(name), op, operands, attributes)
    node = graph.producer(new)
    graph.replace_uses(value, new)
    graph.replace_node(node)
    return new
