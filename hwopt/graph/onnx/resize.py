"""Images of other sizes, and reading where a grid says."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import OnnxValue, ints, plain, tensor


def _resize(node: OnnxNode, x: OnnxValue, *given: OnnxValue) -> torch.Tensor:
    """Compute ``Resize``: as an interpolation of torch's where that is the same, else by axis."""
    data = tensor(x)
    roi, scales, wanted = (
        [*given, None, None, None][:3] if node.version > 10 else [None, given[0], None]
    )
    dims = [d % data.dim() for d in node.get("axes", range(data.dim()))]
    factors = (
        None if scales is None or scales.size == 0 else plain(node, scales, "scales").reshape(-1)
    )
    if factors is None:
        if wanted is None:
            raise node.refuse("neither scales nor sizes")
        outs = ints(node, wanted, "sizes")
        factors, outs = _kept_ratio(node, [data.shape[d] for d in dims], outs)
    else:
        outs = [math.floor(data.shape[d] * float(f)) for d, f in zip(dims, factors, strict=True)]
    geometry = {
        d: (out, float(factor))
        for d, out, factor in zip(dims, outs, factors, strict=True)
        if out != data.shape[d] or factor != 1 or _crops(node)
    }
    quick = _as_interpolation(node, data, geometry)
    if quick is not None:
        return quick
    corners = None if roi is None or roi.size == 0 else plain(node, roi, "roi").reshape(2, -1)
    for d, (out, factor) in geometry.items():
        place = dims.index(d)
        ends = (0.0, 1.0) if corners is None else tuple(map(float, corners[:, place]))
        data = _along(node, data, d, out, factor, ends)
    return data


def _crops(node: OnnxNode) -> bool:
    return node.get("coordinate_transformation_mode") == "tf_crop_and_resize"


def _kept_ratio(node: OnnxNode, sizes: list[int], outs: list[int]) -> tuple[Any, list[int]]:
    ratios = [out / size for size, out in zip(sizes, outs, strict=True)]
    policy = node.get("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return ratios, outs
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    return [ratio] * len(sizes), [math.floor(ratio * size + 0.5) for size in sizes]


def _as_interpolation(node: OnnxNode, x: torch.Tensor, geometry: dict[int, Any]) -> Any:
    """Return torch's interpolation where it is the same, or None."""
    spatial = range(2, x.dim())
    if not geometry:
        return x
    if (
        not x.is_floating_point()
        or x.dim() not in (3, 4, 5)
        or any(d not in spatial for d in geometry)
    ):
        return None
    size = [geometry[d][0] if d in geometry else x.shape[d] for d in spatial]
    if any(not math.isclose(out / x.shape[d], f, rel_tol=1e-6) for d, (out, f) in geometry.items()):
        return None
    mode, how = (
        node.get("mode", "nearest"),
        node.get("coordinate_transformation_mode", "half_pixel"),
    )
    how = "asymmetric" if node.version < 11 else how
    rounding = "floor" if node.version < 11 else node.get("nearest_mode", "round_prefer_floor")
    if node.get("antialias", 0) or node.get("exclude_outside", 0):
        return None
    if mode == "nearest":
        whole = all(out % x.shape[d] == 0 for d, (out, _) in geometry.items())
        same = how == "asymmetric" and rounding == "floor"
        # Of whole factors every way but the last column's rounds to the same.
        is_round = rounding.startswith("round") and how in ("half_pixel", "pytorch_half_pixel")
        same = same or (whole and is_round)
        return F.interpolate(x, size, mode="nearest") if same and whole else None
    kind = {"linear": {3: "linear", 4: "bilinear", 5: "trilinear"}, "cubic": {4: "bicubic"}}
    torch_mode = kind[mode].get(x.dim())
    if torch_mode is None or (mode == "cubic" and node.get("cubic_coeff_a", -0.75) != -0.75):
        return None
    is_long = all(out > 1 for out, _ in geometry.values())
    if how == "half_pixel" or (how == "pytorch_half_pixel" and is_long):
        return F.interpolate(x, size, mode=torch_mode, align_corners=False)
    if how == "align_corners" and is_long:
        return F.interpolate(x, size, mode=torch_mode, align_corners=True)
    return None


def _along(
    node: OnnxNode, x: torch.Tensor, dim: int, out: int, factor: float, ends: tuple[float, ...]
) -> torch.Tensor:
    """Resize one dimension by a choice of places, or by a product with weights."""
    size = x.shape[dim]
    places = _sources(node, size, out, factor, ends)
    outside = (places < 0) | (places > size - 1) if _crops(node) else np.zeros(out, bool)
    if node.get("mode", "nearest") == "nearest":
        rounding = "floor" if node.version < 11 else node.get("nearest_mode", "round_prefer_floor")
        chosen = np.clip(_rounded(places, rounding), 0, size - 1).astype(np.int64)
        found = x.index_select(dim, torch.from_numpy(chosen))
    else:
        matrix = torch.from_numpy(_weights(node, places, size, factor)).to(x.dtype)
        found = (x.movedim(dim, -1) @ matrix.T).movedim(-1, dim)
    if outside.any():
        shape = [-1 if d == dim else 1 for d in range(x.dim())]
        mask = torch.from_numpy(outside).reshape(shape)
        found = torch.where(mask, node.get("extrapolation_value", 0.0), found)
    return found


def _sources(node: OnnxNode, size: int, out: int, factor: float, ends: Any) -> np.ndarray:
    """Return where each result stands in the source."""
    i = np.arange(out, dtype=np.float64)
    how = node.get("coordinate_transformation_mode", "half_pixel")
    if node.version < 11 or how == "asymmetric":
        return i / factor
    resized = factor * size
    if how == "align_corners":
        return i * (size - 1) / (resized - 1) if resized > 1 else np.zeros(out)
    if how == "pytorch_half_pixel":
        return (i + 0.5) / factor - 0.5 if resized > 1 else np.full(out, -0.5)
    if how == "tf_half_pixel_for_nn":
        return (i + 0.5) / factor
    if how == "tf_crop_and_resize":
        start, end = ends
        if out > 1:
            return start * (size - 1) + i * (end - start) * (size - 1) / (out - 1)
        return np.full(out, 0.5 * (start + end) * (size - 1))
    if how == "half_pixel_symmetric":
        adjustment = out / resized
        return size / 2 * (1 - adjustment) + (i + 0.5) / factor - 0.5
    return (i + 0.5) / factor - 0.5


def _rounded(places: np.ndarray, how: str) -> np.ndarray:
    if how == "floor":
        return np.floor(places)
    if how == "ceil":
        return np.ceil(places)
    return np.ceil(places - 0.5) if how == "round_prefer_floor" else np.floor(places + 0.5)


def _weights(node: OnnxNode, places: np.ndarray, size: int, factor: float) -> np.ndarray:
    """Return the weights of the source for each result, (results, size)."""
    stretch = min(factor, 1.0) if node.get("antialias", 0) else 1.0
    cubic = node.get("mode") == "cubic"
    a = node.get("cubic_coeff_a", -0.75)
    reach = (2 if cubic else 1) / stretch
    found = np.zeros((len(places), size))
    for row, place in enumerate(places):
        taps = np.arange(math.floor(place - reach) + 1, math.ceil(place + reach))
        if not len(taps):
            taps = np.array([math.floor(place)])
        distance = np.abs(taps - place) * stretch
        weights = _cubic(distance, a) if cubic else np.clip(1 - distance, 0, None)
        if node.get("exclude_outside", 0) or node.get("antialias", 0):
            inside = (taps >= 0) & (taps < size)
            if node.get("exclude_outside", 0):
                weights = np.where(inside, weights, 0.0)
        weights = weights / weights.sum()
        np.add.at(found[row], np.clip(taps, 0, size - 1), weights)
    return found


def _cubic(d: np.ndarray, a: float) -> np.ndarray:
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _upsample(node: OnnxNode, x: OnnxValue, scales: OnnxValue = None) -> torch.Tensor:
    factors = np.array(node.get("scales")) if scales is None else plain(node, scales, "scales")
    return _resize(node, x, factors)


def _grid_sample(node: OnnxNode, x: OnnxValue, grid: OnnxValue) -> torch.Tensor:
    modes = {"bilinear": "bilinear", "linear": "bilinear", "nearest": "nearest"}
    mode = modes.get(node.get("mode", "linear"), "bicubic")
    around, corners = node.get("padding_mode", "zeros"), bool(node.get("align_corners", 0))
    if tensor(x).dim() == 5:
        return _sampled_volume(node, tensor(x), tensor(grid), mode, around, corners)
    return F.grid_sample(tensor(x), tensor(grid), mode, around, corners)


def _sampled_volume(
    node: OnnxNode, x: torch.Tensor, grid: torch.Tensor, mode: str, around: str, corners: bool
) -> torch.Tensor:
    """Read a volume where a grid says, the nearest or of eight neighbours; around are zeros."""
    if around != "zeros" or mode == "bicubic":
        raise node.refuse(f"a volume with {around} around it, or cubic,")
    sizes = x.shape[2:]
    places = []
    for part, size in zip(grid.unbind(-1), sizes[::-1], strict=True):
        places.append(((part + 1) * (size - 1) if corners else (part + 1) * size - 1) / 2)
    rows = x.flatten(2)
    found = torch.zeros(*x.shape[:2], *grid.shape[1:-1], dtype=x.dtype)
    lows = [torch.round(p) if mode == "nearest" else p.floor() for p in places[::-1]]
    for steps in itertools.product((0, 1), repeat=0 if mode == "nearest" else 3):
        flat = torch.zeros_like(lows[0], dtype=torch.int64)
        share = torch.ones_like(lows[0])
        for axis, (low, size) in enumerate(zip(lows, sizes, strict=True)):
            step = steps[axis] if steps else 0
            at = low + step
            share = share * ((at >= 0) & (at < size)).to(x.dtype)
            if steps:
                behind = places[2 - axis] - low
                share = share * (behind if step else 1 - behind)
            flat = flat * size + at.clamp(0, size - 1).long()
        index = flat.flatten(1)[:, None].expand(-1, x.shape[1], -1)
        read = rows.gather(2, index).reshape(found.shape)
        found = found + read * share[:, None]
    return found


def _affine_grid(node: OnnxNode, theta: OnnxValue, size: OnnxValue) -> torch.Tensor:
    shape = ints(node, size, "the size")
    return F.affine_grid(tensor(theta), shape, bool(node.get("align_corners", 0)))


OPERATORS: dict[str, OnnxOperator] = {
    "Resize": OnnxOperator(_resize, plain=(1, 2, 3)),
    "Upsample": OnnxOperator(_upsample, plain=(1,)),
    "GridSample": OnnxOperator(_grid_sample),
    "AffineGrid": OnnxOperator(_affine_grid, plain=(1,)),
}
