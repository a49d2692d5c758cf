"""Other ways to run the same graph, to be measured beside an artefact."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwopt.errors import HwoptError
from hwopt.files import atomic_file
from hwopt.graph import Graph

Call = Callable[[], Any]


def available(name: str) -> bool:
    """Say whether a peer is installed; ONNX Runtime comes with the extra ``hwopt[bench]``."""
    needed = {"onnxruntime": ("onnxruntime", "onnxscript")}.get(name, ())
    return all(importlib.util.find_spec(package) is not None for package in needed)


def make(
    name: str, graph: Graph, inputs: tuple[np.ndarray, ...], threads: int, folder: Path
) -> Call:
    """Return a call that runs the graph once on ``inputs`` and returns its output.

    Args:
        name: ``onnxruntime``, ``torch`` or ``torch.compile``.
        graph: with its weights.
        inputs: numpy arrays, one an input.
        threads: of the peer.
        folder: where exported files are kept.

    Raises:
        HwoptError: if the peer is not installed.
    """
    if not available(name):
        raise HwoptError(f"{name} is not installed: pip install 'hwopt[bench]'")
    if name == "onnxruntime":
        return _onnxruntime(graph, inputs, threads, folder)
    return _torch(graph, inputs, threads, compiled=name == "torch.compile")


def export_onnx(graph: Graph, inputs: tuple[np.ndarray, ...], path: Path) -> None:
    """Write the graph as an ONNX file with torch's own exporter."""
    module = graph.to_torch().eval()
    examples = tuple(torch.from_numpy(x) for x in inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(module, examples, dynamo=True, verbose=False)
    assert program is not None
    with atomic_file(path) as temporary:
        program.save(str(temporary), external_data=False)


def _onnxruntime(graph: Graph, inputs: tuple[np.ndarray, ...], threads: int, folder: Path) -> Call:
    import onnxruntime

    path = folder / "model.onnx"
    export_onnx(graph, inputs, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {i.name: x for i, x in zip(session.get_inputs(), inputs, strict=True)}
    return lambda: session.run(None, feeds)


def _torch(graph: Graph, inputs: tuple[np.ndarray, ...], threads: int, *, compiled: bool) -> Call:
    tensors = tuple(torch.from_numpy(x) for x in inputs)
    # Exported first: no part of hwopt stands between torch and its operators.
    module: Any = torch.export.export(graph.to_torch().eval(), tensors).module()
    if compiled:
        module = torch.compile(module)

    def call() -> Any:
        with torch.inference_mode():
            return module(*tensors)

    torch.set_num_threads(threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    call()
    return call
