"""How a recurrent cell hands channel labels on: its numbers, and its state."""

from __future__ import annotations

import numpy as np

from hwopt.graph import Node, Parameter, Value
from hwopt.graph.recurrent import GATES
from hwopt.passes.channels.labels import ChannelLabels, Labels, along


def cell(labels: ChannelLabels, node: Node) -> None:
    """A number of the cell goes with its rows in all gates, and where its state is read."""
    names = {role: node.parameter(role) for role in node.operands if role not in _VALUES}
    if None in names.values():
        labels.barrier(node, f"a weight of {node.name} is computed")
        return
    weights = {role: name for role, name in names.items() if name is not None}
    gates = GATES[node.attributes["cell"]]
    numbers = labels.fresh(labels.graph.parameter(weights["input_weight"]).shape[0] // gates)
    state = numbers
    if "projection" in weights:
        state = labels.fresh(labels.graph.parameter(weights["projection"]).shape[0])
        labels.parameter(weights["projection"], 0, state, produces=True)
        labels.parameter(weights["projection"], 1, numbers)
    rows = np.tile(numbers, gates)
    labels.parameter(weights["input_weight"], 1, labels.read(node.input, 2, node))
    labels.parameter(weights["hidden_weight"], 1, state)
    for role in ("input_weight", "hidden_weight", "input_bias", "hidden_bias"):
        if role in weights:
            labels.parameter(weights[role], 0, rows, produces=role == "input_weight")
    for role, own in (("state", state), ("memory", numbers)):
        _begin(labels, node, role, own)
    labels.write(node, along(state, 2, 3), 0)
    labels.write(node, along(state, 1, 2), 1)
    if node.attributes["cell"] == "lstm":
        labels.write(node, along(numbers, 1, 2), 2)


_VALUES = ("input", "state", "memory")


def _begin(labels: ChannelLabels, node: Node, role: str, own: Labels) -> None:
    """What a state begins with, where that is given, loses the same numbers."""
    operand = node.operands.get(role)
    if isinstance(operand, Parameter):
        labels.parameter(operand.name, labels.graph.parameter(operand.name).dim() - 1, own)
    elif isinstance(operand, Value):
        labels.equate(labels.read(operand, 1, node), own)
