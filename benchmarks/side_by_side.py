"""Artefacts and peers measured in one run."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwopt import Artifact, Graph, peers
from hwopt.compiler import measure

#: The peers that compute in float32 and are made in seconds.
FLOAT32 = ("onnxruntime", "openvino", "executorch", "torch", "torch.compile")


def medians_ms(
    artifacts: Mapping[str, Artifact],
    graph: Graph,
    inputs: tuple[np.ndarray, ...],
    threads: int,
    runs: int,
) -> dict[str, float]:
    """Return the median latencies of artefacts, and of the graph in every installed peer."""
    calls: dict[str, Callable[[], Any]] = {
        name: functools.partial(artifact, *inputs) for name, artifact in artifacts.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        for peer in filter(peers.available, FLOAT32):
            calls[peer] = peers.make(peer, graph, inputs, threads, Path(folder) / peer)
        latencies = measure(calls, threads=threads, runs=runs)
    return {name: latency.median_ms for name, latency in latencies.items()}
