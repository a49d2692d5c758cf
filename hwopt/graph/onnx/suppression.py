"""Non-maximum suppression, whose result gets a fixed size and a count."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from hwopt.graph.onnx.node import OnnxGraph, OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import OnnxValue, array, tensor
from hwopt.graph.suppression import OPERATOR

NAME = "NonMaxSuppression"


def with_counts(graph: OnnxGraph) -> OnnxGraph:
    """Return a graph whose suppressions have their count as a result, which it returns, too.

    They are called as the chosen boxes, and ``_count`` behind.
    """
    taken = {name for node in graph.nodes for name in (*node.inputs, *node.outputs)}
    counts: list[str] = []
    nodes = []
    for node in graph.nodes:
        if node.op == NAME:
            name = f"{node.outputs[0]}_count"
            while name in taken or name in graph.inputs:
                name += "_"
            counts.append(name)
            node = dataclasses.replace(node, outputs=(node.outputs[0], counts[-1]))
        nodes.append(node)
    return dataclasses.replace(graph, nodes=tuple(nodes), outputs=(*graph.outputs, *counts))


def _suppressed(node: OnnxNode, boxes: OnnxValue, scores: OnnxValue, *given: OnnxValue) -> Any:
    if len(node.outputs) < 2:
        raise node.refuse("suppression within a branch or a loop")
    numbers = []
    for place, usual in enumerate((0, 0.0, -torch.inf)):
        known = given[place] if place < len(given) else None
        if isinstance(known, torch.Tensor):
            raise node.refuse("a limit that depends on an input of the model")
        numbers.append(usual if known is None else array(known).reshape(-1)[0].item())
    most, overlap, least = numbers
    return OPERATOR(
        tensor(boxes),
        tensor(scores),
        int(most),
        float(overlap),
        float(least),
        bool(node.get("center_point_box", 0)),
    )


OPERATORS = {NAME: OnnxOperator(_suppressed, plain=(2, 3, 4))}
