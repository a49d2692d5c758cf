"""Losses, which some files end in."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import OnnxValue, tensor


def _likelihood(
    node: OnnxNode, logs: OnnxValue, labels: OnnxValue, weights: OnnxValue = None
) -> torch.Tensor:
    """Compute ``NegativeLogLikelihoodLoss``; a label that is ignored may be none of the classes."""
    data, wanted = tensor(logs), tensor(labels).long()
    weight = None if weights is None else tensor(weights)
    ignored = node.get("ignore_index", -(2**31))
    how = node.get("reduction", "mean")
    return F.nll_loss(data, wanted, weight, ignore_index=ignored, reduction=how)


def _cross_entropy(
    node: OnnxNode, scores: OnnxValue, labels: OnnxValue, weights: OnnxValue = None
) -> Any:
    logs = torch.log_softmax(tensor(scores), 1)
    return _likelihood(node, logs, labels, weights), logs


OPERATORS: dict[str, OnnxOperator] = {
    "NegativeLogLikelihoodLoss": OnnxOperator(_likelihood),
    "SoftmaxCrossEntropyLoss": OnnxOperator(_cross_entropy),
}
