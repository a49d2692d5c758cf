"""Windows, Fourier transforms as products, and filters of frequencies."""

from __future__ import annotations

import math

import numpy as np
import torch

from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import OnnxValue, dtype_of, number, tensor


def _window(*weights: float) -> OnnxOperator:
    """Return a window that is a sum of cosines with these weights."""

    def run(node: OnnxNode, size: OnnxValue) -> torch.Tensor:
        count = int(number(node, size, "the size"))
        length = count if node.get("periodic", 1) else count - 1
        angle = 2 * math.pi * torch.arange(count, dtype=torch.float64) / max(length, 1)
        found = sum(w * torch.cos(k * angle) for k, w in enumerate(weights))
        return torch.as_tensor(found).to(dtype_of(node, node.get("output_datatype", 1)))

    return OnnxOperator(run, plain=(0,))


def _fourier(
    x: torch.Tensor, axis: int, length: int, *, inverse: bool, onesided: bool
) -> torch.Tensor:
    """Transform pairs (..., real and imaginary) along an axis, by products with waves."""
    size = x.shape[axis]
    if length < size:
        x = x.narrow(axis, 0, length)
    steps = torch.arange(min(size, length), dtype=torch.float64)
    count = length // 2 + 1 if onesided and not inverse else length
    angle = 2 * math.pi / length * torch.outer(torch.arange(count, dtype=torch.float64), steps)
    cosine, sine = (f(angle).to(x.dtype) for f in (torch.cos, torch.sin))
    sign = 1 if inverse else -1
    parts = x.unbind(-1)
    real = parts[0].movedim(axis, -1)
    found = [real @ cosine.T, sign * (real @ sine.T)]
    if len(parts) > 1:
        imaginary = parts[1].movedim(axis, -1)
        found = [
            found[0] - sign * (imaginary @ sine.T),
            found[1] + imaginary @ cosine.T,
        ]
    both = torch.stack([part.movedim(-1, axis) for part in found], -1)
    return both / length if inverse else both


def _dft(
    node: OnnxNode, x: OnnxValue, length: OnnxValue = None, axis: OnnxValue = None
) -> torch.Tensor:
    data = tensor(x)
    dim = node.get("axis", 1) if axis is None else int(number(node, axis, "the axis"))
    if node.version >= 20 and axis is None:
        dim = -2
    dim %= data.dim()
    count = data.shape[dim] if length is None else int(number(node, length, "the length"))
    inverse, onesided = bool(node.get("inverse", 0)), bool(node.get("onesided", 0))
    if inverse and onesided:
        return _from_one_side(node, data, dim, count, length is not None)
    return _fourier(data, dim, count, inverse=inverse, onesided=onesided)


def _from_one_side(
    node: OnnxNode, x: torch.Tensor, axis: int, count: int, is_given: bool
) -> torch.Tensor:
    """Return the real signal of one side of its frequencies."""
    length = count if is_given else 2 * (x.shape[axis] - 1)
    inner = x.narrow(axis, 1, (length - 1) // 2).flip(axis)
    mirrored = torch.stack([inner[..., 0], -inner[..., 1]], -1)
    whole = torch.cat([x.narrow(axis, 0, length // 2 + 1), mirrored], axis)
    found = _fourier(whole, axis, length, inverse=True, onesided=False)
    return found[..., :1]


def _stft(
    node: OnnxNode,
    x: OnnxValue,
    step: OnnxValue,
    window: OnnxValue = None,
    length: OnnxValue = None,
) -> torch.Tensor:
    data, hop = tensor(x), int(number(node, step, "the step"))
    weights = None if window is None else tensor(window)
    if length is not None:
        size = int(number(node, length, "the length"))
    elif weights is not None:
        size = weights.shape[0]
    else:
        raise node.refuse("neither a window nor a length")
    frames = data.squeeze(-1) if data.dim() == 3 and data.shape[-1] == 1 else data
    pairs = frames.dim() == 3
    framed = frames.unfold(1, size, hop)
    framed = framed.movedim(-2, -1) if pairs else framed.unsqueeze(-1)
    if weights is not None:
        framed = framed * weights.reshape(1, 1, -1, 1)
    return _fourier(framed, 2, size, inverse=False, onesided=bool(node.get("onesided", 1)))


def _mel(node: OnnxNode, *given: OnnxValue) -> torch.Tensor:
    """Compute ``MelWeightMatrix``: triangles between frequencies that are even in mel."""
    bins, length, rate, low, high = (number(node, v, "a number") for v in given)

    def to_mel(frequency: float) -> float:
        return 2595 * math.log10(1 + frequency / 700)

    steps = np.arange(bins + 2) * (to_mel(high) - to_mel(low)) / (bins + 2) + to_mel(low)
    frequencies = 700 * (10 ** (steps / 2595) - 1)
    places = ((length + 1) * frequencies // rate).astype(int)
    found = np.zeros((length // 2 + 1, bins))
    for band in range(bins):
        left, middle, right = places[band : band + 3]
        if middle == left:
            found[middle, band] = 1
        else:
            rise = np.arange(left, middle + 1)
            found[rise, band] = (rise - left) / (middle - left)
        if right > middle:
            fall = np.arange(middle, right)
            found[fall, band] = (right - fall) / (right - middle)
    return torch.from_numpy(found).to(dtype_of(node, node.get("output_datatype", 1)))


OPERATORS: dict[str, OnnxOperator] = {
    "HannWindow": _window(0.5, -0.5),
    "HammingWindow": _window(25 / 46, -21 / 46),
    "BlackmanWindow": _window(0.42, -0.5, 0.08),
    "DFT": OnnxOperator(_dft, plain=(1, 2)),
    "STFT": OnnxOperator(_stft, plain=(1, 3)),
    "MelWeightMatrix": OnnxOperator(_mel, plain=(0, 1, 2, 3, 4)),
}
