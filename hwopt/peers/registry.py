"""The peers by name; each is imported only when it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hwopt.errors import HwoptError, first_line, unknown_name

if TYPE_CHECKING:
    import numpy as np

    from hwopt.graph import Graph

#: Runs the graph once on the inputs given to :func:`make`, as they are then; returns a sequence of
#: its outputs.
PeerCall = Callable[[], Any]
Samples = Sequence[tuple["np.ndarray", ...]]
#: Of noise, for ranges of activations.
_NOISE = 8


class Peer(NamedTuple):
    """Where a peer is made, and what must be installed for it."""

    module: str
    options: dict[str, Any]
    packages: tuple[str, ...] = ()
    extra: str = "bench"
    quantised: bool = False


_ONNX_RUNTIME = ("onnxruntime", "onnxscript")
_OPENVINO = ("openvino", *_ONNX_RUNTIME)
PEERS = {
    "onnxruntime": Peer("onnx_runtime", {}, _ONNX_RUNTIME),
    "onnxruntime-int8": Peer("onnx_runtime", {"int8": True}, _ONNX_RUNTIME, quantised=True),
    "openvino": Peer("openvino", {"precision": "f32"}, _OPENVINO),
    "openvino-bf16": Peer("openvino", {"precision": "bf16"}, _OPENVINO),
    "openvino-int8": Peer("openvino", {"precision": "int8"}, (*_OPENVINO, "nncf"), quantised=True),
    "executorch": Peer("executorch", {}, ("executorch",), "peers"),
    "torch": Peer("torch_native", {}),
    "torch.compile": Peer("torch_native", {"mode": "default"}),
    "torch.compile-max-autotune": Peer("torch_native", {"mode": "max-autotune"}),
    "tvm": Peer("plain_tvm", {}),
}


def names() -> tuple[str, ...]:
    """Return the names of all peers, installed or not."""
    return tuple(PEERS)


def available(name: str) -> bool:
    """Say whether a peer is installed.

    Raises:
        HwoptError: if there is no peer of this name.
    """
    return all(importlib.util.find_spec(package) is not None for package in _peer(name).packages)


def install_hint(name: str) -> str:
    """Return what to do where a peer is not installed."""
    return f"pip install 'hwopt[{_peer(name).extra}]'"


def make(
    name: str,
    graph: Graph,
    inputs: tuple[np.ndarray, ...],
    threads: int,
    folder: Path,
    samples: Samples | None = None,
) -> PeerCall:
    """Return a call that runs the graph once on ``inputs`` and returns its outputs.

    Args:
        name: see :func:`names`; float32, unless the name says otherwise.
        graph: with its weights.
        inputs: numpy arrays, one an input; what is written into them is what later calls read.
        threads: of the peer.
        folder: where exported files are kept.
        samples: inputs like ``inputs``, from which 8-bit peers take the ranges of activations;
            None takes normal noise: enough to time a network, not to judge its accuracy.

    Raises:
        HwoptError: if there is no such peer, it is not installed, or it cannot run the graph.
    """
    peer = _peer(name)
    if not available(name):
        raise HwoptError(f"{name} is not installed: {install_hint(name)}")
    module = importlib.import_module(f"hwopt.peers.{peer.module}")
    options = dict(peer.options)
    if peer.quantised:
        options["samples"] = samples or noise(inputs)
    try:
        call: PeerCall = module.make(graph, inputs, threads, folder, **options)
    except Exception as error:  # of any kind, as the peers are others' code
        message = f"{name} cannot run {graph.name}: {type(error).__name__} {first_line(error)}"
        raise HwoptError(message) from error
    return call


def noise(inputs: tuple[np.ndarray, ...]) -> Samples:
    """Return some inputs of normal noise with the shapes and dtypes of ``inputs``."""
    import numpy as np

    random = np.random.default_rng(0)
    return [
        tuple(random.standard_normal(x.shape).astype(x.dtype) for x in inputs)
        for _ in range(_NOISE)
    ]


def _peer(name: str) -> Peer:
    if name not in PEERS:
        raise unknown_name("peer", name, PEERS)
    return PEERS[name]
