"""ExecuTorch with its XNNPACK backend, torch's own runtime for edge devices."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwopt.graph import Graph
from hwopt.peers import exported
from hwopt.peers.registry import PeerCall


def make(graph: Graph, inputs: tuple[np.ndarray, ...], threads: int, folder: Path) -> PeerCall:
    """Return a call of the lowered program; its pool of threads is one for the process."""
    tensors = tuple(torch.from_numpy(x) for x in inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ExecuTorch's own deprecations
        method, needed = _load(graph, tensors, threads)

    def call(_alive: Any = needed) -> Any:
        return method.execute(tensors)

    return call


def _load(graph: Graph, tensors: tuple[torch.Tensor, ...], threads: int) -> tuple[Any, Any]:
    """Lower and load the graph; return the method to call, and what must live as long as it."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    program = exported.export(graph, tensors)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    buffer = lowered.to_executorch().buffer
    portable_lib._unsafe_reset_threadpool(threads)
    program = Runtime.get().load_program(buffer)
    return program.load_method("forward"), (buffer, program)
