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
from hwopt.peers.registry import PeerCall, Samples


def make(
    graph: Graph,
    inputs: tuple[np.ndarray, ...],
    threads: int,
    folder: Path,
    *,
    int8: bool = False,
    samples: Samples = (),
) -> PeerCall:
    """Return a call of an inference session.

    Args:
        graph, inputs, threads, folder, samples: as in ``hwopt.peers.make``.
        int8: quantise weights and activations.
    """
    import onnxruntime

    path = export(graph, inputs, folder)
    if int8:
        path = _quantised(path, samples)
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


def _quantised(source: Path, samples: Samples) -> Path:
    """Write ``model-int8.onnx`` beside a model: quantised statically, weights by channel."""
    from onnxruntime import quantization
    from onnxruntime.quantization import shape_inference

    path, prepared = (source.with_name(f"{name}.onnx") for name in ("model-int8", "prepared"))
    with logs.at_least("root", logging.ERROR), atomic_file(path) as temporary:
        shape_inference.quant_pre_process(str(source), str(prepared))
        quantization.quantize_static(
            str(prepared), str(temporary), _Calibration(prepared, samples), per_channel=True
        )
    return path


class _Calibration:
    """What ONNX Runtime asks for the next sample."""

    def __init__(self, path: Path, samples: Samples) -> None:
        import onnx

        names = [value.name for value in onnx.load(str(path)).graph.input]
        self._left = iter([dict(zip(names, sample, strict=True)) for sample in samples])

    def get_next(self) -> dict[str, Any] | None:
        """Return one sample, and None after the last."""
        return next(self._left, None)
