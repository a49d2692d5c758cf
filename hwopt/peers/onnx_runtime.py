"""ONNX Runtime, in float32 or with 8-bit weights and activations."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwopt import logs
from hwopt.files import atomic_file
from hwopt.graph import Graph
from hwopt.peers import exported
from hwopt.peers.registry import Call

#: Batches of normal noise that ranges of activations are taken from: enough to time a network,
#: not to judge its accuracy.
CALIBRATION_BATCHES = 8


def make(
    graph: Graph,
    inputs: tuple[np.ndarray, ...],
    threads: int,
    folder: Path,
    *,
    int8: bool = False,
) -> Call:
    """Return a call of an inference session."""
    import onnxruntime

    path = export_int8(graph, inputs, folder) if int8 else export(graph, inputs, folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {i.name: x for i, x in zip(session.get_inputs(), inputs, strict=True)}
    return lambda: session.run(None, feeds)


def export(graph: Graph, inputs: tuple[np.ndarray, ...], folder: Path) -> Path:
    """Write the graph as ``model.onnx`` with torch's own exporter."""
    examples = tuple(torch.from_numpy(x) for x in inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(exported.export(graph, examples), dynamo=True, verbose=False)
    assert program is not None
    path = folder / "model.onnx"
    with atomic_file(path) as temporary:
        program.save(str(temporary), external_data=False)
    return path


def export_int8(graph: Graph, inputs: tuple[np.ndarray, ...], folder: Path) -> Path:
    """Write ``model-int8.onnx``: quantised statically, weights by channel."""
    from onnxruntime import quantization
    from onnxruntime.quantization import shape_inference

    source, path = export(graph, inputs, folder), folder / "model-int8.onnx"
    prepared = folder / "prepared.onnx"
    with logs.at_least("root", logging.ERROR), atomic_file(path) as temporary:
        shape_inference.quant_pre_process(str(source), str(prepared))
        quantization.quantize_static(
            str(prepared), str(temporary), _Noise(prepared, inputs), per_channel=True
        )
    return path


class _Noise:
    """Calibration data: what ONNX Runtime asks for the next batch."""

    def __init__(self, path: Path, inputs: tuple[np.ndarray, ...]) -> None:
        import onnx

        names = [value.name for value in onnx.load(str(path)).graph.input]
        random = np.random.default_rng(0)
        self._batches = iter(
            {
                name: random.standard_normal(x.shape).astype(x.dtype)
                for name, x in zip(names, inputs, strict=True)
            }
            for _ in range(CALIBRATION_BATCHES)
        )

    def get_next(self) -> dict[str, Any] | None:
        """Return one batch, and None after the last."""
        return next(self._batches, None)
