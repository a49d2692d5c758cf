"""Multiply-accumulates of one node for a batch of one; an addition alone counts nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

from hwopt.graph.types import Node, Operands, TensorSpec

Specification = Callable[[Operands], TensorSpec]
"""From a value or a parameter to its shape and dtype."""


def none(spec: Specification, node: Node) -> int:
    """No multiply-accumulates: elementwise, pooling, data movement."""
    return 0


def convolution(spec: Specification, node: Node) -> int:
    """Output elements x kernel elements of one output channel."""
    weight = spec(node.operands["weight"]).at()
    return node.output.elements() * math.prod(weight[1:])


def transposed_convolution(spec: Specification, node: Node) -> int:
    """Input elements x kernel elements of one input channel."""
    weight = spec(node.operands["weight"]).at()
    return spec(node.operands["input"]).elements() * math.prod(weight[1:])


def linear(spec: Specification, node: Node) -> int:
    """Output elements x input features."""
    return node.output.elements() * spec(node.operands["weight"]).at()[-1]


def recurrent(spec: Specification, node: Node) -> int:
    """Steps x rows x the weights of a cell."""
    steps, rows, _ = spec(node.operands["input"]).at()
    roles = ("input_weight", "hidden_weight", "projection")
    weights = (node.operands[role] for role in roles if role in node.operands)
    return steps * rows * sum(spec(weight).elements() for weight in weights)


def advection_diffusion(spec: Specification, node: Node) -> int:
    """Products of the step: previous, sums and differences of neighbours, divergence, source."""
    products = 7 if "source" in node.operands else 6
    return products * node.output.elements()


def interpolate_anchors(spec: Specification, node: Node) -> int:
    """Two for the interpolation and two for the mix; none where all pixels are anchors."""
    return 4 * node.output.elements() if node.attributes["stride"] > 1 else 0


def matmul(spec: Specification, node: Node) -> int:
    """Output elements x the length of the contracted dimension."""
    return node.output.elements() * spec(node.operands["self"]).at()[-1]


def sum_with_matmul(spec: Specification, node: Node) -> int:
    """As ``matmul``, of the two operands that come after what is added."""
    _, (_, first), *_ = node.flat_operands()
    return node.output.elements() * spec(first).at()[-1]


def attention(spec: Specification, node: Node) -> int:
    """The two products: query with key, and the weights with value."""
    query = spec(node.operands["query"]).at()
    key = spec(node.operands["key"]).at()
    value = spec(node.operands["value"]).at()
    scores = math.prod(query[:-1]) * key[-2]
    return scores * (query[-1] + value[-1])
