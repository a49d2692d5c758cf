"""What tells two graphs apart: their structure and every value of their tensors."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from hwopt.graph.graph import Graph


def fingerprint(graph: Graph) -> str:
    """Return 64 hex digits that equal graphs share.

    >>> from hwopt.graph import import_model
    >>> graph = import_model(torch.nn.Linear(2, 1), torch.zeros(1, 2))
    >>> fingerprint(graph) == fingerprint(graph.copy())
    True
    """
    digest = hashlib.sha256(graph.to_text().encode())
    for name, tensor in sorted(graph.parameters.items()):
        digest.update(name.encode())
        digest.update(_bytes(tensor))
        if name in graph.masks:
            digest.update(_bytes(graph.masks[name]))
    return digest.hexdigest()


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
