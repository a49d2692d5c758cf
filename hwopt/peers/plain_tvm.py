"""TVM by itself: its own importer and default pipeline; no schedules, no layout of ours."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwopt import targets
from hwopt.graph import Graph, operators
from hwopt.peers.registry import PeerCall
from hwopt.targets import tvm_build
from hwopt.targets.threads import use_threads


def make(graph: Graph, inputs: tuple[np.ndarray, ...], threads: int, folder: Path) -> PeerCall:
    """Return a call of the virtual machine."""
    import tvm
    from tvm import relax
    from tvm.relax.frontend.torch import from_exported_program

    target = tvm_build.tvm_target(targets.get("host"))
    examples = tuple(torch.from_numpy(x) for x in inputs)
    table = torch.export.default_decompositions() | operators.decompositions()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, about its pytrees
        program = torch.export.export(graph.to_torch().eval(), examples)
        module = from_exported_program(program.run_decompositions(table))
    machine = relax.VirtualMachine(tvm.compile(module, target), tvm.cpu())
    tensors = [tvm.runtime.tensor(x) for x in inputs]

    def call() -> Any:
        use_threads(threads)
        for tensor, x in zip(tensors, inputs, strict=True):
            tensor.copyfrom(x)
        outputs = machine["main"](*tensors)
        return [output.numpy() for output in outputs]

    return call
