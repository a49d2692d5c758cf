"""Regions of an image, read at sizes of their own."""

from __future__ import annotations

import torch

from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import OnnxValue, tensor


def _roi_align(node: OnnxNode, x: OnnxValue, rois: OnnxValue, images: OnnxValue) -> torch.Tensor:
    """Compute ``RoiAlign`` with a number of samples that the file says."""
    data, boxes, which = tensor(x), tensor(rois), tensor(images).long()
    samples = node.get("sampling_ratio", 0)
    if not samples:
        raise node.refuse("as many samples as a region is large")
    default = "half_pixel" if node.version >= 16 else "output_half_pixel"
    aligned = node.get("coordinate_transformation_mode", default) == "half_pixel"
    sizes = (node.get("output_height", 1), node.get("output_width", 1))
    scale, offset = node.get("spatial_scale", 1.0), 0.5 if aligned else 0.0
    corners = boxes * scale - offset
    weights, places = [], []
    for axis, (count, limit) in enumerate(zip(sizes, data.shape[2:], strict=True)):
        begin, end = corners[:, 1 - axis], corners[:, 3 - axis]
        length = end - begin if aligned else (end - begin).clamp(min=1)
        steps = (torch.arange(count * samples, dtype=data.dtype) + 0.5) / samples
        where = begin[:, None] + steps * (length / count)[:, None]  # (regions, count * samples)
        low, high, share = _neighbours(where, int(limit))
        places.append((low, high))
        weights.append(share)
    channels, (height, width) = data.shape[1], data.shape[2:]
    rows = data.transpose(0, 1).reshape(channels, -1)
    found = []
    for y, of_y in zip(places[0], weights[0], strict=True):
        for z, of_z in zip(places[1], weights[1], strict=True):
            flat = (which[:, None, None] * height + y[:, :, None]) * width + z[:, None, :]
            read = rows.index_select(1, flat.reshape(-1)).reshape(channels, *flat.shape)
            found.append(read * (of_y[:, :, None] * of_z[:, None, :]))
    is_max = node.get("mode", "avg") == "max"
    split = (len(boxes), sizes[0], samples, sizes[1], samples)
    if is_max:  # the largest of the four weighted neighbours of all samples
        return torch.stack(found).amax(0).reshape(channels, *split).amax((3, 5)).transpose(0, 1)
    return torch.stack(found).sum(0).reshape(channels, *split).mean((3, 5)).transpose(0, 1)


def _neighbours(
    where: torch.Tensor, limit: int
) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """Return the pixels before and behind, and their shares; outside of the image none."""
    inside = ((where >= -1) & (where <= limit)).to(where.dtype)
    place = where.clamp(min=0)
    low = place.floor().clamp(max=limit - 1)
    place = torch.where(low >= limit - 1, low, place)
    high = (low + 1).clamp(max=limit - 1)
    behind = place - low
    return low.long(), high.long(), ((1 - behind) * inside, behind * inside)


OPERATORS: dict[str, OnnxOperator] = {
    "RoiAlign": OnnxOperator(_roi_align),
}
