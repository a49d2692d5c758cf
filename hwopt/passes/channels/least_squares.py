"""Layers that read fewer channels are fitted to say what they said before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hwopt.graph import Value
from hwopt.passes.base import Note
from hwopt.passes.channels.carry import add_to_bias
from hwopt.passes.channels.labels import Kept
from hwopt.passes.channels.moments import RIDGES, Moments, inputs_of, values_of, with_ridge
from hwopt.passes.channels.readers import Reader
from hwopt.passes.layers import OUTPUT_AXIS

if TYPE_CHECKING:
    from hwopt.graph import Graph
    from hwopt.passes.base import Context


#: A channel whose scale is a smaller share of the largest is not changed: it would explode.
_LEAST_SCALE = 1e-3
#: Of every batch this share of the rows, the last ones, is held out to judge by.
_HELD_OUT = 0.2


def fit_readers(result: Graph, kept: Kept, context: Context, batches: int) -> list[Note]:
    """Fit the weights and biases of all layers that read fewer channels, one after the other.

    Each is fitted to what it reads in the pruned network, so that it makes up for errors of those
    before it, and to what came out at its end in the network before: channel pruning by He et al.
    2017, whose goal in a residual block is the sum, too. The change is what is kept small, as far
    as that helps on samples that are held out (ours).

    Args:
        result: the graph without the channels, their constants carried; changed in place.
        kept: which channels went.
        context: offers the batches.
        batches: how many are looked at; 0 takes all.

    Raises:
        HwoptError: if there is no data, or values are no numbers.
    """
    place = {node.name: n for n, node in enumerate(result.nodes())}
    readers, notes = [], []
    for name in _narrowed(result, kept):
        reader = Reader.of(result, result.node(name))
        if reader is None:
            notes.append(Note(name, "not fitted: its constants are carried", changed=False))
        else:
            readers.append(reader)
    # Who adds up to the end of another comes before it.
    readers.sort(key=lambda reader: (place[reader.end.node], place[reader.node.name]))
    inputs = inputs_of(result, context, batches) if readers else []
    return notes + [_fit(result, kept, reader, inputs) for reader in readers]


def _narrowed(result: Graph, kept: Kept) -> list[str]:
    """Return the layers that read fewer channels than before."""
    found = []
    for node in kept.labels.graph.nodes():
        reads = node.operands.get("input")
        is_layer = node.op in OUTPUT_AXIS and node.name not in kept.labels.separate
        if is_layer and node.name in result and isinstance(reads, Value):
            labels = kept.labels.values.get(reads)
            if labels is not None and not kept.of(labels).all():
                found.append(node.name)
    return found


def _fit(result: Graph, kept: Kept, reader: Reader, inputs: list[Any]) -> Note:
    fitted, held, variance = _moments(result, kept, reader, inputs)
    scale = reader.scale.double()
    can_change = scale.abs() >= _LEAST_SCALE * scale.abs().max()
    judge, best = (held, None) if held.rows else (fitted, RIDGES[0])
    choices = {ridge: _solve(fitted, ridge, can_change) for ridge in (None, *RIDGES)}
    if held.rows:
        best = min(choices, key=lambda ridge: held.error(*choices[ridge]))
    slope, offset = choices[best]
    before, after = judge.error(0 * slope, 0 * offset), judge.error(slope, offset)
    if held.rows:
        slope, offset = _solve(fitted.plus(held), best, can_change)
    # What was found at the end, before its scale.
    inverse = torch.where(can_change, 1 / scale, 0.0)
    slope, offset = slope * inverse, offset * inverse
    weight = result.parameter(reader.weight)
    changed = weight.double() + slope.T.reshape(weight.shape)
    result.set_parameter(reader.weight, changed.to(weight.dtype))
    add_to_bias(result, result.node(reader.node.name), offset.to(weight.dtype))
    return _note(reader, before, after, variance)


def _moments(
    result: Graph, kept: Kept, reader: Reader, inputs: list[Any]
) -> tuple[Moments, Moments, float]:
    """Return moments of what is read and of what is missing, others held out, and the variance.

    The variance is that of what comes out at the end in the network before.
    """
    moments, wanted = Moments(), Moments()
    held = None
    now = values_of(result, [result.node(reader.node.name).input, reader.end], inputs)
    before = values_of(kept.labels.graph, [reader.end], inputs)
    for (given, end), (whole,) in zip(now, before, strict=True):
        goal = _without_removed(kept, reader.end, whole)
        rows, missing = reader.inputs(given), reader.outputs(goal - end)
        count = len(rows) - int(_HELD_OUT * len(rows))
        moments.add(rows[:count], missing[:count])
        held = held or moments.beside()
        if count < len(rows):
            held.add(rows[count:], missing[count:])
        wanted.add(rows[:, :1], reader.outputs(goal))
    moments.check(reader.node.name)
    assert held is not None
    return moments, held, wanted.variance()


def _solve(
    moments: Moments, ridge: float | None, can_change: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the best slope (columns, outputs) and offset (outputs,); the offset alone if None."""
    both = moments.of_both()
    if ridge is None:
        slope = torch.zeros_like(both)
    else:
        slope = torch.linalg.solve(with_ridge(moments.of_first(), ridge), both)
    slope = slope * can_change
    a, b = moments.means()
    return slope, (b - a @ slope) * can_change


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
