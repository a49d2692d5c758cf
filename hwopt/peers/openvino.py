"""OpenVINO in float32, bfloat16 or with 8-bit weights and activations."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from hwopt import logs
from hwopt.graph import Graph
from hwopt.peers import onnx_runtime
from hwopt.peers.registry import PeerCall, Samples


def make(
    graph: Graph,
    inputs: tuple[np.ndarray, ...],
    threads: int,
    folder: Path,
    *,
    precision: str,
    samples: Samples = (),
) -> PeerCall:
    """Return a call of a compiled model that reads and writes its tensors in place.

    Args:
        graph, inputs, threads, folder, samples: as in ``hwopt.peers.make``.
        precision: ``f32``, ``bf16``, or ``int8``, quantised by NNCF after training.
    """
    import openvino

    core = openvino.Core()
    model = core.read_model(str(onnx_runtime.export(graph, inputs, folder)))
    if precision == "int8":
        model = _quantised(model, samples)
    compiled = core.compile_model(
        model,
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


def _quantised(model: Any, samples: Samples) -> Any:
    os.environ.setdefault("NNCF_CI", "1")  # or it reports its use to its makers
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NNCF's own, such as of versions of torch
        with logs.at_least("nncf", logging.ERROR):
            import nncf

            return nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples))
