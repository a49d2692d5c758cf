"""How much a channel matters: one score for everything that goes together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from hwopt.passes.channels.labels import ChannelLabels, Labels
from hwopt.passes.sensitivity import connection_sensitivity, gradients

if TYPE_CHECKING:
    from hwopt.graph import Graph
    from hwopt.passes.base import Context

Criterion = Literal["l1", "l2", "batch-norm", "taylor", "snip", "reconstruction", "random"]


def score_classes(
    labels: ChannelLabels, classes: Labels, criterion: Criterion, context: Context, batches: int = 1
) -> np.ndarray:
    """Return the score of every class of labels, float64; NaN where the criterion does not apply.

    Args:
        labels: of the graph.
        classes: the class of every label.
        criterion: ``l1``, ``l2``: norms of the weights that make the channels; ``batch-norm``: the
            absolute scales of batch norms (Liu et al. 2017); ``taylor``: the squared sum of weight
            times gradient over the weights that make the channels, mean over batches (Molchanov et
            al. 2019, eq. 8); ``snip``: the absolute connection sensitivity (Lee et al. 2019, eq. 6)
            summed over all weights that go with the channels; ``random``.
        context: offers batches and randomness.
        batches: how many batches the gradients are taken of; 0 takes all.
    """
    graph = labels.graph
    count = int(classes.max()) + 1 if len(classes) else 0
    if criterion == "random":
        generator = context.generator()
        return torch.rand(count, generator=generator, dtype=torch.float64).numpy()
    if criterion == "batch-norm":
        return _batch_norm_scales(graph, labels, classes, count)
    if criterion in ("l1", "l2"):
        power = 1 if criterion == "l1" else 2
        weights = {s.parameter: graph.parameter(s.parameter).double() for s in labels.slices}
        magnitudes = {name: weight.abs() ** power for name, weight in weights.items()}
        return _sums(labels, classes, count, magnitudes, only_producing=True)
    if criterion == "taylor":
        squares = [
            _sums(labels, classes, count, sensitivity, only_producing=True) ** 2
            for sensitivity in gradients(graph, context, batches)
        ]
        return np.mean(squares, axis=0)
    magnitudes = connection_sensitivity(graph, context, batches)
    return _sums(labels, classes, count, magnitudes, only_producing=False)


def _sums(
    labels: ChannelLabels,
    classes: Labels,
    count: int,
    tensors: dict[str, torch.Tensor],
    *,
    only_producing: bool,
) -> np.ndarray:
    """Sum tensors that have the shapes of parameters over the slices of every class."""
    sums = np.zeros(count)
    done = set()
    for entry in labels.slices:
        tensor = tensors.get(entry.parameter)
        key = (entry.parameter, entry.axis)
        if tensor is None or key in done or (only_producing and not entry.produces):
            continue
        done.add(key)  # a shared parameter counts once
        others = [d for d in range(tensor.dim()) if d != entry.axis]
        summed = tensor.sum(dim=others) if others else tensor
        np.add.at(sums, classes[entry.labels], summed.double().numpy())
    return sums


def _batch_norm_scales(
    graph: Graph, labels: ChannelLabels, classes: Labels, count: int
) -> np.ndarray:
    scales = {node.parameter("weight") for node in graph.nodes("batch_norm")} - {None}
    tensors = {name: graph.parameter(name).double().abs() for name in scales if name is not None}
    ones = {name: torch.ones_like(tensor) for name, tensor in tensors.items()}
    covered = _sums(labels, classes, count, ones, only_producing=False) > 0
    sums = _sums(labels, classes, count, tensors, only_producing=False)
    return np.where(covered, sums, np.nan)
