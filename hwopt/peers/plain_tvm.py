"""TVM's own default pipeline: the importer is the same, neither layout nor schedules are ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwopt import targets
from hwopt.compiler.lower import lower
from hwopt.graph import Graph
from hwopt.peers.registry import Call
from hwopt.targets import tvm_build
from hwopt.targets.threads import use_threads


def make(graph: Graph, inputs: tuple[np.ndarray, ...], threads: int, folder: Path) -> Call:
    """Return a call of the virtual machine."""
    import tvm
    from tvm import relax

    target = tvm_build.tvm_target(targets.get("host"))
    module = lower(graph.to_torch().eval(), tuple(torch.from_numpy(x) for x in inputs))
    machine = relax.VirtualMachine(tvm.compile(module, target), tvm.cpu())
    tensors = [tvm.runtime.tensor(x) for x in inputs]

    def call() -> Any:
        use_threads(threads)
        for tensor, x in zip(tensors, inputs, strict=True):
            tensor.copyfrom(x)
        outputs = machine["main"](*tensors)
        return [output.numpy() for output in outputs]

    return call
