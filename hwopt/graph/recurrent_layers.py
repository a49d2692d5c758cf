"""Torch's recurrent operators, of any layers and directions, as cells over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hwopt.graph.types import Operands, Parameter, Value

if TYPE_CHECKING:
    from hwopt.graph.graph import Graph

#: From torch's operators over sequences to the cell.
_LAYERS = {
    "aten.lstm.input": "lstm",
    "aten.gru.input": "gru",
    "aten.rnn_tanh.input": "rnn_tanh",
    "aten.rnn_relu.input": "rnn_relu",
}
_ZEROS = ("aten.zeros.default", "aten.new_zeros.default", "aten.zeros_like.default")
#: From torch's operators of a single step.
_CELLS = {
    "aten.lstm_cell.default": "lstm",
    "aten.gru_cell.default": "gru",
    "aten.rnn_tanh_cell.default": "rnn_tanh",
    "aten.rnn_relu_cell.default": "rnn_relu",
}


def is_recurrent(op: str) -> bool:
    """Say whether an operator of torch's is recurrent."""
    return op in _LAYERS or op in _CELLS


def add_recurrent(
    graph: Graph,
    name: str,
    op: str,
    operands: Mapping[str, Operands],
    attributes: Mapping[str, Any],
) -> tuple[Value, ...]:
    """Add the nodes of one recurrent operator; return what it returns.

    Args:
        graph: gets the nodes.
        name: their names begin with it.
        op, operands, attributes: as torch has them.
    """
    layers = _Layers(graph, name, dict(operands), dict(attributes))
    return layers.of_a_step(_CELLS[op]) if op in _CELLS else layers.of_a_sequence(_LAYERS[op])


class _Layers:
    """Adds nodes whose names begin alike."""

    def __init__(
        self, graph: Graph, name: str, operands: dict[str, Operands], attributes: dict[str, Any]
    ) -> None:
        self.graph, self.name = graph, name
        self.operands, self.attributes = operands, attributes

    def node(
        self, suffix: str, op: str, operands: Mapping[str, Operands], **attributes: Any
    ) -> Value:
        name = self.graph.unique_name(f"{self.name}.{suffix}")
        return self.graph.add_node(name, op, operands, attributes)

    def unless_zero(self, state: Operands | None) -> Operands | None:
        """Return a state at the beginning; None if it is zero, as a cell takes it by itself."""
        if isinstance(state, Parameter):
            is_zero = (
                self.graph.is_buffer(state.name) and not self.graph.parameter(state.name).any()
            )
        else:
            is_zero = isinstance(state, Value) and self.graph.producer(state).op in _ZEROS
        return None if is_zero else state

    def of_a_step(self, cell: str) -> tuple[Value, ...]:
        """Add one step: a sequence of length one."""
        states = self.operands["hx"]
        first, *others = map(self.unless_zero, states if isinstance(states, tuple) else (states,))
        steps = self.node("steps", "unsqueeze", {"self": self.operands["input"]}, dim=0)
        roles = ("input_weight", "hidden_weight", "input_bias", "hidden_bias")
        given = (self.operands.get(role) for role in ("w_ih", "w_hh", "b_ih", "b_hh"))
        weights = {r: w for r, w in zip(roles, given, strict=True) if w is not None}
        _, state, memory = self.cell("step", cell, steps, (first, *others), weights)
        return (state, memory) if cell == "lstm" else (state,)

    def of_a_sequence(self, cell: str) -> tuple[Value, ...]:
        """Add all layers and directions."""
        given = self.attributes
        directions = 2 if given["bidirectional"] else 1
        weights = self.operands["params"]
        states = self.operands["hx"]
        assert isinstance(weights, tuple)
        before = [*map(self.unless_zero, states if isinstance(states, tuple) else (states,))]
        each = len(weights) // (given["num_layers"] * directions)
        roles = ["input_weight", "hidden_weight"]
        roles += ["input_bias", "hidden_bias"] if given["has_biases"] else []
        roles += ["projection"] if len(roles) < each else []
        value: Operands = self.operands["input"]
        if given["batch_first"]:
            value = self.node("steps", "transpose", {"self": value}, dim0=0, dim1=1)
        last: list[tuple[Value, Value]] = []
        for layer in range(given["num_layers"]):
            outputs = []
            for direction in range(directions):
                place = layer * directions + direction
                suffix = f"l{layer}{'_reverse' * direction}"
                begin = [
                    None
                    if one is None
                    else self.node(f"{suffix}_from", "select", {"self": one}, dim=0, index=place)
                    for one in before
                ]
                own = dict(zip(roles, weights[place * each : (place + 1) * each], strict=True))
                output, state, memory = self.cell(
                    suffix, cell, value, begin, own, reverse=bool(direction)
                )
                outputs.append(output)
                last.append((state, memory))
            value = outputs[0]
            if directions == 2:
                value = self.node(f"l{layer}_both", "concat", {"tensors": tuple(outputs)}, dim=2)
            if given["dropout"] and layer < given["num_layers"] - 1:
                value = self.node(
                    f"l{layer}_dropout", "dropout", {"input": value}, p=given["dropout"]
                )
        if given["batch_first"]:
            value = self.node("rows", "transpose", {"self": value}, dim0=0, dim1=1)
        assert isinstance(value, Value)
        kinds = zip(*last, strict=True)
        names = ("states", "memories") if cell == "lstm" else ("states",)
        stacked = [
            self.node(kind, "stack", {"tensors": values}, dim=0)
            for kind, values in zip(names, kinds, strict=False)
        ]
        return (value, *stacked)

    def cell(
        self,
        suffix: str,
        cell: str,
        steps: Operands,
        begin: Sequence[Operands | None],
        weights: Mapping[str, Operands | None],
        *,
        reverse: bool = False,
    ) -> tuple[Value, Value, Value]:
        """Add one cell over time; return all states, the last state and the last memory."""
        given = {"input": steps, **dict(zip(("state", "memory"), begin, strict=False)), **weights}
        operands = {role: operand for role, operand in given.items() if operand is not None}
        value = self.node(suffix, "recurrent", operands, cell=cell, reverse=reverse)
        return value, Value(value.node, 1), Value(value.node, 2)
