"""OpenVINO in float32, bfloat16 or with 8-bit weights and activations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hwopt.graph import Graph
from hwopt.peers import onnx_runtime
from hwopt.peers.registry import Call


def make(
    graph: Graph, inputs: tuple[np.ndarray, ...], threads: int, folder: Path, *, precision: str
) -> Call:
    """Return a call of a compiled model that reads and writes its tensors in place.

    Args:
        graph, inputs, threads, folder: as in ``hwopt.peers.make``.
        precision: ``f32``, ``bf16``, or ``int8`` (the model quantised by ONNX Runtime's tool).
    """
    import openvino

    export = onnx_runtime.export_int8 if precision == "int8" else onnx_runtime.export
    compiled = openvino.Core().compile_model(
        str(export(graph, inputs, folder)),
        "CPU",
        {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        },
    )
    request = compiled.create_infer_request()
    feeds = dict(enumerate(inputs))

    def call() -> Any:
        return request.infer(feeds, share_inputs=True, share_outputs=True).to_tuple()

    return call
