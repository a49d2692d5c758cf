"""What an operator of ONNX is in torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

Function = Callable[..., Any]
"""Of the node and its inputs, each a tensor, a known array, a list or None, to the results."""


@dataclasses.dataclass(frozen=True)
class OnnxOperator:
    """How an operator is computed.

    Attributes:
        function: of the node and its inputs.
        weights: roles of inputs that are weights where they are known, by position.
        buffers: those of the weights that are not trained.
        plain: positions of inputs that stay known arrays: sizes, axes, limits.
        on_sizes: of the node and arrays that hold a batch size as a symbol.
        prepare: of the node and its inputs, as far as they are known, to another node, its inputs,
            and roles of weights; or to None.
        is_elementwise: whether a known operand of one element is a number.
        runs_graphs: whether the function's second argument runs graphs that lie in the node.
    """

    function: Function
    weights: Mapping[int, str] = dataclasses.field(default_factory=dict)
    buffers: tuple[int, ...] = ()
    plain: tuple[int, ...] = ()
    on_sizes: Function | None = None
    prepare: Function | None = None
    runs_graphs: bool = False
    is_elementwise: bool = False
