"""Lists of tensors, and values that may be missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import OnnxValue, ints, number, tensor


def _insert(
    node: OnnxNode, sequence: list[OnnxValue], value: OnnxValue, place: OnnxValue = None
) -> list[OnnxValue]:
    at = len(sequence) if place is None else int(number(node, place, "the place"))
    return [*sequence[:at], value, *sequence[at:]]


def _erase(node: OnnxNode, sequence: list[OnnxValue], place: OnnxValue = None) -> list[OnnxValue]:
    at = -1 if place is None else int(number(node, place, "the place"))
    left = list(sequence)
    del left[at]
    return left


def _at(node: OnnxNode, sequence: list[OnnxValue], place: OnnxValue) -> OnnxValue:
    return sequence[int(number(node, place, "the place"))]


def _joined(node: OnnxNode, sequence: list[OnnxValue]) -> torch.Tensor:
    values, axis = [tensor(value) for value in sequence], node.get("axis")
    return torch.stack(values, axis) if node.get("new_axis", 0) else torch.cat(values, axis)


def _parts(node: OnnxNode, x: OnnxValue, split: OnnxValue = None) -> list[torch.Tensor]:
    data, axis = tensor(x), node.get("axis", 0)
    if split is None:
        parts = list(data.split(1, axis))
        return parts if node.get("keepdims", 1) else [part.squeeze(axis) for part in parts]
    lengths = ints(node, split, "the lengths")
    return list(torch.split(data, lengths[0] if split.ndim == 0 else lengths, axis))


def _optional(node: OnnxNode, value: OnnxValue = None) -> OnnxValue:
    return value


def _has_element(node: OnnxNode, value: Any = None) -> np.ndarray:
    return np.array(value is not None)


def _length(node: OnnxNode, sequence: list[OnnxValue]) -> np.ndarray:
    return np.array(len(sequence), np.int64)


OPERATORS: dict[str, OnnxOperator] = {
    "SequenceConstruct": OnnxOperator(lambda node, *values: list(values)),
    "SequenceEmpty": OnnxOperator(lambda node: []),
    "SequenceInsert": OnnxOperator(_insert, plain=(2,)),
    "SequenceErase": OnnxOperator(_erase, plain=(1,)),
    "SequenceAt": OnnxOperator(_at, plain=(1,)),
    "SequenceLength": OnnxOperator(_length),
    "ConcatFromSequence": OnnxOperator(_joined),
    "SplitToSequence": OnnxOperator(_parts, plain=(1,)),
    "Optional": OnnxOperator(_optional),
    "OptionalGetElement": OnnxOperator(_optional),
    "OptionalHasElement": OnnxOperator(_has_element),
}
