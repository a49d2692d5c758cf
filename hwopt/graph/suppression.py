"""Non-maximum suppression with a result of fixed size, and how much of it counts."""

from __future__ import annotations

import torch
from torch import Tensor

from hwopt.errors import HwoptError
from hwopt.graph import composed

SCHEMA = (
    "(Tensor boxes, Tensor scores, int most, float overlap, float least, bool centered=False) "
    "-> (Tensor, Tensor)"
)


def non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    most: int,
    overlap: float,
    least: float,
    centered: bool = False,
) -> tuple[Tensor, Tensor]:
    """Choose boxes by their scores; what overlaps a chosen one too much is left out.

    It is ONNX's ``NonMaxSuppression``, whose result has as many rows as there are chosen boxes.
    Here it has as many as there can be, and a count.

    Args:
        boxes: float (N, B, 4): two corners, y and x of each, in any order.
        scores: float (N, C, B), of classes.
        most: boxes chosen of a class and an image, at most.
        overlap: a box is left out if the intersection with a chosen one is more than that share of
            their union.
        least: scores must be more than that.
        centered: whether boxes are the centre's x and y, width and height.

    Returns:
        int64 (N * C * min(most, B), 3): image, class and box, in this order and then by score; -1
        behind the last; and how many rows count, int64 ().

    Raises:
        HwoptError: if the shapes do not fit each other.

    >>> boxes = torch.tensor([[[0.0, 0, 2, 2], [0, 0, 2, 1.9], [5, 5, 6, 6]]])
    >>> non_maximum_suppression(boxes, torch.tensor([[[0.8, 0.9, 0.7]]]), 3, 0.5, 0.0)
    (tensor([[ 0,  0,  1],
            [ 0,  0,  2],
            [-1, -1, -1]]), tensor(2))
    """
    _check(boxes, scores)
    images, classes, count = scores.shape
    low, high = _corners(boxes, centered)
    sizes = (high - low).clamp(min=0).prod(-1)[:, None]
    left = torch.where(scores > least, scores, -torch.inf)
    places = torch.arange(count)
    picks = []
    for _ in range(min(most, count)):
        best = left.argmax(-1, keepdim=True)
        found = left.gather(-1, best) > -torch.inf
        one_low, one_high = (_chosen(corner, best) for corner in (low, high))
        shared = torch.minimum(high[:, None], one_high) - torch.maximum(low[:, None], one_low)
        common = shared.clamp(min=0).prod(-1)
        union = sizes + sizes.expand(left.shape).gather(-1, best) - common
        left = torch.where((common > overlap * union) | (places == best), -torch.inf, left)
        picks.append(torch.where(found, best, -1))
    chosen = torch.cat([*picks, scores.new_empty(images, classes, 0, dtype=torch.int64)], -1)
    image = torch.arange(images)[:, None, None].expand(chosen.shape)
    kind = torch.arange(classes)[:, None].expand(chosen.shape)
    rows = torch.stack([image, kind, chosen], -1).flatten(0, 2)
    counts = rows[:, 2] >= 0
    order = counts.logical_not().to(torch.uint8).argsort(stable=True)
    return torch.where(counts[order, None], rows[order], -1), counts.sum()


def _check(boxes: Tensor, scores: Tensor) -> None:
    fits = boxes.dim() == scores.dim() == 3 and boxes.shape[2] == 4
    if not fits or (boxes.shape[0], boxes.shape[1]) != (scores.shape[0], scores.shape[2]):
        raise HwoptError(
            "non_maximum_suppression: boxes must be (images, boxes, 4) and scores (images, "
            f"classes, boxes), not {tuple(boxes.shape)} and {tuple(scores.shape)}"
        )


def _corners(boxes: Tensor, centered: bool) -> tuple[Tensor, Tensor]:
    first, second = boxes[..., :2], boxes[..., 2:]
    if centered:
        return first - second / 2, first + second / 2
    return torch.minimum(first, second), torch.maximum(first, second)


def _chosen(corner: Tensor, best: Tensor) -> Tensor:
    """Return a corner of the chosen boxes, (images, classes, 1, 2)."""
    spread = corner[:, None].expand(-1, best.shape[1], -1, -1)
    return spread.gather(2, best[..., None].expand(-1, -1, -1, 2))


def _shapes(
    boxes: Tensor, scores: Tensor, most: int, overlap: float, least: float, centered: bool = False
) -> tuple[Tensor, Tensor]:
    _check(boxes, scores)
    images, classes, count = scores.shape
    rows = images * classes * min(most, count)
    return scores.new_empty(rows, 3, dtype=torch.int64), scores.new_empty((), dtype=torch.int64)


OPERATOR = composed.define(non_maximum_suppression, SCHEMA, shapes=_shapes)
