"""torch itself: eager, or compiled by Inductor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwopt.graph import Graph
from hwopt.peers import exported
from hwopt.peers.registry import PeerCall


def make(
    graph: Graph,
    inputs: tuple[np.ndarray, ...],
    threads: int,
    folder: Path,
    *,
    mode: str | None = None,
) -> PeerCall:
    """Return a call of the exported module, compiled in ``mode`` if one is given.

    ``max-autotune`` also freezes the weights, as Inductor's guide advises for inference on CPUs.
    """
    tensors = tuple(torch.from_numpy(x) for x in inputs)
    # Exported first: no part of hwopt stands between torch and its operators.
    module: Any = exported.export(graph, tensors).module()
    if mode:
        # Not dynamic: what was compiled before for other shapes must not make this one general.
        module = torch.compile(module, mode=mode, dynamic=False)

    def call() -> Any:
        with torch.inference_mode():
            outputs = module(*tensors)
        return outputs if isinstance(outputs, tuple | list) else (outputs,)

    torch.set_num_threads(threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    if mode == "max-autotune":
        import torch._inductor.config as inductor

        with torch.no_grad(), inductor.patch(freezing=True):
            call()
    call()
    return call
