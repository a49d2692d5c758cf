"""``If``, ``Loop``, ``Scan`` and ``SequenceMap``: what is known is written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from hwopt.graph.onnx.node import OnnxGraph, OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import OnnxValue, is_known, number, tensor

Run = Callable[[OnnxGraph, list[OnnxValue]], list[OnnxValue]]
"""Runs a graph that lies in a node, with values for its inputs."""
#: A loop of more turns than that becomes no graph that anybody wants.
MOST_TURNS = 1024


def _if(node: OnnxNode, run: Run, condition: OnnxValue) -> Any:
    if not is_known(condition):
        raise node.refuse("a condition that depends on an input of the model")
    holds = bool(number(node, condition, "the condition"))
    return tuple(run(node.get("then_branch" if holds else "else_branch"), []))


def _loop(
    node: OnnxNode, run: Run, trips: OnnxValue, condition: OnnxValue, *states: OnnxValue
) -> Any:
    body: OnnxGraph = node.get("body")
    limit = None if trips is None else number(node, trips, "the number of turns")
    goes_on = True if condition is None else bool(number(node, condition, "the condition"))
    carried = list(states)
    scanned: list[list[torch.Tensor]] = [[] for _ in range(len(body.outputs) - 1 - len(states))]
    turn = 0
    while goes_on and (limit is None or turn < limit):
        if turn >= MOST_TURNS:
            raise node.refuse(f"a loop of more than {MOST_TURNS} turns")
        still, *found = run(body, [np.array(turn, np.int64), np.array(True), *carried])
        goes_on = bool(number(node, still, "the condition of the next turn"))
        carried, rest = found[: len(states)], found[len(states) :]
        for kept, one in zip(scanned, rest, strict=True):
            kept.append(tensor(one))
        turn += 1
    if not turn and scanned:
        raise node.refuse("results of a loop without turns")
    return (*carried, *(torch.stack(kept) for kept in scanned))


def _scan(node: OnnxNode, run: Run, *values: OnnxValue) -> Any:
    body: OnnxGraph = node.get("body")
    count = node.get("num_scan_inputs")
    if node.version < 9:
        if values[0] is not None:
            raise node.refuse("lengths")
        return _scan_of_batch(node, run, body, count, values[1:])
    states, inputs = list(values[:-count]), [tensor(v) for v in values[-count:]]
    in_axes = node.get("scan_input_axes", [0] * count)
    in_back = node.get("scan_input_directions", [0] * count)
    steps = inputs[0].shape[in_axes[0]]
    outputs: list[list[torch.Tensor]] = [[] for _ in range(len(body.outputs) - len(states))]
    for t in range(steps):
        read = [
            x.select(axis, steps - 1 - t if back else t)
            for x, axis, back in zip(inputs, in_axes, in_back, strict=True)
        ]
        found = run(body, [*states, *read])
        states, rest = found[: len(states)], found[len(states) :]
        for kept, one in zip(outputs, rest, strict=True):
            kept.append(tensor(one))
    axes = node.get("scan_output_axes", [0] * len(outputs))
    back = node.get("scan_output_directions", [0] * len(outputs))
    made = [
        torch.stack(kept[::-1] if reverse else kept, axis)
        for kept, axis, reverse in zip(outputs, axes, back, strict=True)
    ]
    return (*states, *made)


def _scan_of_batch(
    node: OnnxNode, run: Run, body: OnnxGraph, count: int, values: tuple[OnnxValue, ...]
) -> Any:
    """Run the first version, which scans each row of a batch by itself."""
    rows = []
    for row in range(tensor(values[-1]).shape[0]):
        own = [tensor(value)[row] for value in values]
        states, inputs = own[:-count], own[-count:]
        outputs: list[list[torch.Tensor]] = [[] for _ in range(len(body.outputs) - len(states))]
        for t in range(inputs[0].shape[0]):
            found = run(body, [*states, *(x[t] for x in inputs)])
            states, rest = found[: len(states)], found[len(states) :]
            for kept, one in zip(outputs, rest, strict=True):
                kept.append(tensor(one))
        rows.append([*map(tensor, states), *map(torch.stack, outputs)])
    return tuple(torch.stack(parts) for parts in zip(*rows, strict=True))


def _map(node: OnnxNode, run: Run, sequence: list[OnnxValue], *others: OnnxValue) -> Any:
    body: OnnxGraph = node.get("body")
    results: list[list[OnnxValue]] = [[] for _ in body.outputs]
    for place, value in enumerate(sequence):
        given = [one[place] if isinstance(one, list) else one for one in others]
        for kept, one in zip(results, run(body, [value, *given]), strict=True):
            kept.append(one)
    return tuple(results)


OPERATORS: dict[str, OnnxOperator] = {
    "If": OnnxOperator(_if, runs_graphs=True),
    "Loop": OnnxOperator(_loop, runs_graphs=True),
    "Scan": OnnxOperator(_scan, runs_graphs=True),
    "SequenceMap": OnnxOperator(_map, runs_graphs=True),
}
