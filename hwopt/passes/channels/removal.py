"""Cut the channels out of every parameter, and correct the attributes that state a size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from hwopt.passes.channels.labels import Kept

if TYPE_CHECKING:
    from hwopt.graph import Graph, Node

#: A weight as its direction ``v`` times its lengths ``g``.
WEIGHT_NORM = "aten._weight_norm.default"


def remove_channels(kept: Kept) -> Graph:
    """Return the graph without the removed channels."""
    result = kept.labels.graph.copy()
    cuts = {(s.parameter, s.axis): kept.of(s.labels) for s in kept.labels.slices}
    for (name, axis), stays in cuts.items():
        if not stays.all():
            index = torch.from_numpy(np.flatnonzero(stays))
            mask = result.masks.get(name)
            result.set_parameter(
                name,
                result.parameter(name).index_select(axis, index),
                mask=None if mask is None else mask.index_select(axis, index),
            )
    for node in result.nodes(WEIGHT_NORM):
        _keep_lengths(kept, result, node)
    for name, rewrite in kept.labels.rewrites.items():
        node = result.node(name)
        changed = rewrite(node, kept)
        if changed != node:
            result.replace_node(changed)
    result.infer_shapes()
    return result


def _keep_lengths(kept: Kept, result: Graph, node: Node) -> None:
    """Scale the lengths of a normalized weight, so that what is left of it stays as it was."""
    direction, lengths = node.parameter("v"), node.parameter("g")
    if direction is None or lengths is None:
        return
    before, after = (graph.parameter(direction) for graph in (kept.labels.graph, result))
    if before.shape == after.shape:
        return
    dim = node.attributes["dim"]
    others = [d for d in range(before.dim()) if d != dim]
    full = torch.linalg.vector_norm(before, dim=others, keepdim=True)
    for entry in kept.labels.slices:
        if (entry.parameter, entry.axis) == (direction, dim):
            index = torch.from_numpy(np.flatnonzero(kept.of(entry.labels)))
            full = full.index_select(dim, index)
            break
    left = torch.linalg.vector_norm(after, dim=others, keepdim=True)
    result.set_parameter(lengths, result.parameter(lengths) * left / full)


def keep_something(kept: Kept, scores: np.ndarray) -> set[int]:
    """Return classes that must stay after all, so that every value has a channel left.

    Half of the channels of one layer may be read by themselves, such as after a split.
    """
    back: set[int] = set()
    for array in kept.labels.values.values():
        classes = np.unique(kept.classes[array])
        if kept.removed[classes].all() and not back & set(classes.tolist()):
            back.add(int(classes[np.argmax(scores[classes])]))
    return back
