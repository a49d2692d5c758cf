"""All operators of ONNX, each once."""

from __future__ import annotations

from hwopt.graph.onnx import (
    attention,
    control,
    creation,
    elementwise,
    indexing,
    layers,
    losses,
    microsoft,
    movement,
    normalization,
    pools,
    quantization,
    recurrent,
    reductions,
    regions,
    resize,
    sequences,
    signal,
    stateful,
    suppression,
)
from hwopt.graph.onnx.operator import OnnxOperator

#: By name; other domains than ONNX's own stand before it.
OPERATORS: dict[str, OnnxOperator] = {
    **elementwise.OPERATORS,
    **movement.OPERATORS,
    **indexing.OPERATORS,
    **creation.OPERATORS,
    **reductions.OPERATORS,
    **layers.OPERATORS,
    **pools.OPERATORS,
    **normalization.OPERATORS,
    **resize.OPERATORS,
    **regions.OPERATORS,
    **suppression.OPERATORS,
    **recurrent.OPERATORS,
    **attention.OPERATORS,
    **stateful.OPERATORS,
    **quantization.OPERATORS,
    **losses.OPERATORS,
    **signal.OPERATORS,
    **sequences.OPERATORS,
    **control.OPERATORS,
    **microsoft.OPERATORS,
}
