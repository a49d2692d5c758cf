"""ExecuTorch with its XNNPACK backend, torch's own runtime for edge devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwopt.graph import Graph
from hwopt.peers.registry import Call


def make(graph: Graph, inputs: tuple[np.ndarray, ...], threads: int, folder: Path) -> Call:
    """Return a call of the lowered program; its pool of threads is one for the process."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    tensors = tuple(torch.from_numpy(x) for x in inputs)
    exported = torch.export.export(graph.to_torch().eval(), tensors)
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    portable_lib._unsafe_reset_threadpool(threads)
    buffer = lowered.to_executorch().buffer
    program = Runtime.get().load_program(buffer)
    method = program.load_method("forward")
    # The method reads both without keeping them alive.
    needed = (buffer, program)

    def call() -> Any:
        assert method is not None and needed
        return method.execute(tensors)

    return call
