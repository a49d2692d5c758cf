"""Layers that read fewer channels are fitted to say what they said before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hwopt.graph import Value
from hwopt.passes.base import Note
from hwopt.passes.channels.carry import add_to_bias
from hwopt.passes.channels.labels import Kept
from hwopt.passes.channels.moments import Moments, values_of, with_ridge
from hwopt.passes.channels.readers import Reader

if TYPE_CHECKING:
    from hwopt.graph import Graph


def readers_to_fit(result: Graph, kept: Kept) -> list[Reader]:
    """Return the layers of the pruned graph that read fewer channels than before, in order."""
    labels = kept.labels
    found = []
    for node in result.nodes():
        before = labels.graph.node(node.name)
        reader = None if node.name in labels.separate else Reader.of(result, node)
        if reader is None or before.input not in labels.values:
            continue
        if not kept.of(labels.values[before.input]).all():
            found.append(reader)
    return found


def fit(result: Graph, kept: Kept, readers: list[Reader], inputs: list[Any]) -> list[Note]:
    """Fit the weights and biases of readers by least squares, one after the other.

    Each is fitted to what it reads in the pruned network, so that it makes up for errors of those
    before it, and to what came out at its end in the network before (He et al. 2017, section 3.2;
    that the sum of a residual block is the goal is their section 3.3).

    Args:
        result: the graph without the channels; changed in place.
        kept: which channels went.
        readers: of the result, in its order.
        inputs: what both networks are fed with, batch by batch.
    """
    return [_fit(result, kept, reader, inputs) for reader in readers]


def _fit(result: Graph, kept: Kept, reader: Reader, inputs: list[Any]) -> Note:
    moments, wanted = Moments(), Moments()
    read = result.node(reader.node.name).input
    now = values_of(result, [read, reader.end], inputs)
    before = values_of(kept.labels.graph, [reader.end], inputs)
    for (given, end), (goal,) in zip(now, before, strict=True):
        goal = _without_removed(kept, reader.end, goal)
        rows = reader.inputs(given)
        moments.add(rows, reader.outputs(goal - end))
        wanted.add(rows[:, :1], reader.outputs(goal))
    covariances, both = moments.of_first(), moments.of_both()
    change = torch.linalg.solve(with_ridge(covariances), both)  # (columns, outputs)
    means, offsets = moments.means()
    left = moments.variance() - float((change * (2 * both - covariances @ change)).sum())
    # What was found at the end, before its scale; a channel of scale 0 cannot be changed.
    scale = reader.scale.double()
    inverse = torch.where(scale.abs() > 1e-8, 1 / scale, 0.0)
    weight = result.parameter(reader.weight)
    fitted = weight.double() + (change * inverse).T.reshape(weight.shape)
    result.set_parameter(reader.weight, fitted.to(weight.dtype))
    shift = (offsets - means @ change) * inverse
    add_to_bias(result, result.node(reader.node.name), shift.to(weight.dtype))
    return _note(reader, moments.variance(), left, wanted.variance())


def _without_removed(kept: Kept, value: Value, tensor: torch.Tensor) -> torch.Tensor:
    """Return a value of the network before without the channels that went."""
    labels = kept.labels.values.get(value)
    if labels is None:
        return tensor
    for axis in range(1, labels.ndim):
        if labels.shape[axis] > 1:
            others = tuple(d for d in range(labels.ndim) if d != axis)
            stays = kept.of(labels).any(axis=others)
            tensor = tensor.index_select(axis, torch.from_numpy(np.flatnonzero(stays)))
    return tensor


def _note(reader: Reader, before: float, after: float, of: float) -> Note:
    share = [f"{100 * max(0.0, one) / max(of, 1e-30):.2g} %" for one in (before, after)]
    message = f"fitted: its error is {share[1]} of the variance, and was {share[0]}"
    return Note(reader.node.name, message, changed=True)
