"""Nothing that is wrong is ever measured: artefact and torch must agree first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt import data
from hwopt.errors import HwoptError
from hwopt.passes.layers import BINARY
from hwopt.passes.routing import RoutedValues, is_routed, with_parts
from hwopt.tasks.task import as_tuple

if TYPE_CHECKING:
    import torch
    from torch.utils.data import Dataset

    from hwopt.compiler import Artifact
    from hwopt.graph import Graph
    from hwopt.tasks import Task

#: Largest difference that counts as rounding, relative to the largest value of an output, and
#: absolute where that is below 1.
TOLERANCE = 1e-4
#: Share of the samples in which rounding may turn the sign that a binary layer takes, which no
#: tolerance of outputs covers. A wrong kernel is wrong in most.
TURNED = 0.02
#: Samples that torch computes at once.
_BATCH = 100


def check(
    artifact: Artifact, graph: Graph, samples: Dataset[Any], task: Task, most: int
) -> dict[str, Any]:
    """Compare an artefact with torch on the first ``most`` samples, one at a time.

    Args:
        artifact: what was compiled ...
        graph: ... of this.
        samples: of the test set.
        task: that the network is for.
        most: how many samples.

    Returns:
        ``samples``; ``max_difference`` of any output; and, of tasks with an answer,
        ``same_answer``: of how many samples it is the same one. It is another only where two are
        equal up to rounding. With binary layers also ``turned``: in how many samples a sign was
        turned by rounding; with a router ``tied``: how many have the threshold as their score, up
        to rounding. Both are left out of ``max_difference``.

    Raises:
        HwoptError: if they differ by more than rounding.
    """
    import torch

    module = graph.to_torch().eval()
    wanted, got, inputs = [], [], []
    for batch in data.batches(samples, _BATCH, limit=most):
        fed = task.feed(batch.inputs)
        with torch.no_grad():
            wanted.append(as_tuple(data.run_model(module, fed)))
        got += [_outputs(artifact(*one)) for one in one_by_one(fed, graph.inputs)]
        inputs.append(fed)
    expected = [torch.cat(parts) for parts in zip(*wanted, strict=True)]
    found = [torch.from_numpy(np.concatenate(parts)) for parts in zip(*got, strict=True)]
    differences, excess = _differences(expected, found)
    result: dict[str, Any] = {"samples": len(differences)}
    ours, theirs = (
        task.answer(one[0] if len(one) == 1 else tuple(one)) for one in (found, expected)
    )
    if ours is not None and theirs is not None:
        same = ours.eq(theirs).reshape(len(differences), -1).all(1)
        result["same_answer"] = int(same.sum())
    counted = np.ones(len(differences), bool)
    if is_routed(graph):
        counted = ~np.concatenate([_tied(graph, one) for one in inputs])
        result["tied"] = int((~counted).sum())
    if any(node.op in BINARY.values() for node in graph.nodes()):
        # What is no number was not made by a sign.
        turned = counted & np.isfinite(excess) & (excess > 0)
        result["turned"] = int(turned.sum())
        if result["turned"] <= TURNED * len(differences):
            counted &= ~turned
    difference = float(differences[counted].max(initial=0.0))
    if not excess[counted].max(initial=-np.inf) <= 0:
        of = f" ({result['same_answer']} of {len(differences)} answers are the same)"
        raise HwoptError(
            f"the artefact differs from torch by {difference:.2e}{of * ('same_answer' in result)}: "
            "please report this as a bug"
        )
    return {**result, "max_difference": difference}


def one_by_one(inputs: Any, names: Iterable[str]) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the inputs of every sample, each a batch of one, in the order of a graph's inputs."""
    arrays = [one.numpy() for one in data.leaves(inputs, names)]
    for place in range(len(arrays[0])):
        yield tuple(array[place : place + 1] for array in arrays)


def _outputs(found: Any) -> list[np.ndarray]:
    return [np.asarray(one) for one in as_tuple(found)]


def _differences(
    expected: list[torch.Tensor], found: list[torch.Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest difference in every sample, and by how much one is over the tolerance."""
    differences, excess = [], []
    for wanted, got in zip(expected, found, strict=True):
        apart = (wanted.double() - got.double()).abs().reshape(len(wanted), -1)
        most = apart.amax(1) if apart.shape[1] else apart.sum(1)
        largest = float(wanted.double().abs().max()) if wanted.numel() else 0.0
        differences.append(most.numpy())
        excess.append((most - TOLERANCE * max(1.0, largest)).numpy())
    return np.max(differences, axis=0), np.max(excess, axis=0)


def _tied(graph: Graph, inputs: Any) -> np.ndarray:
    """Return which samples may go either way: their score is the threshold up to rounding."""
    import torch

    with torch.no_grad():
        score = data.run_model(with_parts(graph).to_torch().eval(), inputs)[2].numpy()
    distance = np.abs(score - RoutedValues.of(graph).threshold)
    tied: np.ndarray = distance <= TOLERANCE * np.maximum(1, np.abs(score))
    return tied
