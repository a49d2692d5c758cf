"""Tensors in a file: those with many zeros as their other values and a packed pattern.

The pattern is one bit a value, deflated (RFC 1950). A test holds it to one and a half times the
entropy of the zeros' positions, for 1 % that are left.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

#: A tensor is packed if that takes less than this share of its bytes.
_WORTH_IT = 0.9


def pack(
    name: str, tensor: torch.Tensor, mask: torch.Tensor | None, codebook: bool = False
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return how a tensor is stored, for JSON, and the tensors to store.

    Args:
        name: begins the names of the stored tensors; a colon ends it, which no parameter has.
        tensor: any shape and dtype.
        mask: bool of the same shape, or None.
        codebook: store the distinct values once, and their numbers.

    >>> weight = torch.zeros(100, 100).fill_diagonal_(2.0)
    >>> entry, stored = pack("fc.weight", weight, None)
    >>> entry["shape"], sorted(stored)
    ([100, 100], ['fc.weight:pattern', 'fc.weight:values'])
    >>> restored, _ = unpack("fc.weight", entry, stored)
    >>> torch.equal(restored, weight)
    True
    """
    used = tensor != 0
    entry: dict[str, Any] = {}
    stored = {name: tensor.contiguous().clone()}
    values = {"values": tensor[used].contiguous()}
    if codebook:
        book, numbers = values["values"].unique(return_inverse=True)
        bits = max(1, (len(book) - 1).bit_length())
        digits = (numbers[:, None] >> torch.arange(bits)) & 1
        values = {"codebook": book, "codes": _deflate(digits)}
    parts = {**values, "pattern": _deflate(used)}
    if sum(part.nbytes for part in parts.values()) < _WORTH_IT * tensor.nbytes:
        entry = {"shape": list(tensor.shape)}
        if codebook:
            entry["code_bits"] = bits
        stored = {f"{name}:{part}": packed for part, packed in parts.items()}
    entry |= {"codebook": True} if codebook else {}
    if mask is not None:
        is_pattern = bool((mask == used).all())
        entry["mask"] = "of the values that are not zero" if is_pattern else "stored"
        if not is_pattern:
            stored[f"{name}:mask"] = _deflate(mask)
    return entry, stored


def unpack(
    name: str, entry: Mapping[str, Any], stored: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Undo :func:`pack`.

    Raises:
        KeyError, ValueError: if what is stored does not fit together.
    """
    if "shape" in entry:
        used = _inflate(stored[f"{name}:pattern"], tuple(entry["shape"]))
        if "code_bits" in entry:
            bits, count = entry["code_bits"], int(used.count_nonzero())
            digits = _inflate(stored[f"{name}:codes"], (count, bits))
            values = stored[f"{name}:codebook"][(digits << torch.arange(bits)).sum(1)]
        else:
            values = stored[f"{name}:values"]
        tensor = torch.zeros(used.shape, dtype=values.dtype)
        tensor[used] = values
    else:
        tensor = stored[name]
    if "mask" not in entry:
        return tensor, None
    if entry["mask"] == "stored":
        return tensor, _inflate(stored[f"{name}:mask"], tuple(tensor.shape))
    return tensor, tensor != 0


def _deflate(bits: torch.Tensor) -> torch.Tensor:
    packed = zlib.compress(np.packbits(bits.numpy()).tobytes(), 9)
    return torch.from_numpy(np.frombuffer(packed, np.uint8).copy())


def _inflate(packed: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    try:
        octets = np.frombuffer(zlib.decompress(packed.numpy().tobytes()), np.uint8)
    except zlib.error as error:
        raise ValueError(f"a packed pattern is damaged: {error}") from None
    count = int(np.prod(shape))
    if len(octets) != -(-count // 8):
        raise ValueError("a packed pattern has the wrong length")
    return torch.from_numpy(np.unpackbits(octets, count=count).astype(bool).reshape(shape))
