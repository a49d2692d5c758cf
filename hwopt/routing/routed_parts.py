"""What a routed network says of samples, and its parts as modules that are trained alone."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from hwopt.data import Batch, batch, batches, run_model
from hwopt.errors import HwoptError
from hwopt.graph import Graph
from hwopt.graph.cleanup import remove_unused
from hwopt.passes.routing import RoutedValues, with_parts
from hwopt.tasks import Classification, Task

CLASSIFICATION = Classification()


class Answers(NamedTuple):
    """What a routed graph's parts say of samples.

    Attributes:
        small, large: what the small network and the expert do; float32 (n, ...).
        score: above the threshold the expert is asked; float32 (n,).
        batch: the samples, without their inputs.
    """

    small: Tensor
    large: Tensor
    score: Tensor
    batch: Batch


class Judged(NamedTuple):
    """How good a routed graph's parts are on samples, one number each, float64 (n,).

    Attributes:
        small, large: by the metric of a task.
        score: above the threshold the expert is asked.
    """

    small: np.ndarray
    large: np.ndarray
    score: np.ndarray


def answers(graph: Graph, dataset: Dataset[Any], task: Task = CLASSIFICATION) -> Answers:
    """Return what a routed graph's parts say of all samples of a task."""
    module = with_parts(graph).to_torch().eval()
    with torch.no_grad():
        found = [
            (*run_model(module, task.feed(inputs)), targets)
            for inputs, targets in map(task.complete, batches(dataset, 500))
        ]
    small, large, score, targets = zip(*found, strict=True)
    return Answers(
        torch.cat(small), torch.cat(large), torch.cat(score), Batch(None, _joined(targets))
    )


def judged(graph: Graph, dataset: Dataset[Any], task: Task = CLASSIFICATION) -> Judged:
    """Return how good a routed graph's parts are on all samples.

    Raises:
        HwoptError: if the quality is no mean over the samples, of one number each.
    """
    found = answers(graph, dataset, task)
    small, large = (evidence_of(task, one, found.batch) for one in (found.small, found.large))
    return Judged(small, large, found.score.double().numpy())


def evidence_of(task: Task, outputs: Tensor, batch: Batch) -> np.ndarray:
    """Return the evidence of samples, (n,).

    Raises:
        HwoptError: if a sample by itself has no quality.
    """
    if not task.is_mean:
        raise HwoptError(
            f"a router compares two answers to one input, but {task.metric.name} is of all inputs "
            f"together: {task} cannot be routed"
        )
    return task.evidence(outputs, batch)


def coverage_of(graph: Graph, dataset: Dataset[Any], task: Task = CLASSIFICATION) -> float:
    """Return the share of samples of a task that a routed graph finds easy."""
    score = answers(graph, dataset, task).score
    return float((score <= RoutedValues.of(graph).threshold).double().mean())


def _joined(targets: Sequence[Any]) -> Any:
    """Return the targets of batches as those of one; None where there are none."""
    first = targets[0]
    if isinstance(first, Tensor):
        return torch.cat(list(targets))
    if isinstance(first, tuple):
        return tuple(_joined(part) for part in zip(*targets, strict=True))
    if isinstance(first, dict):
        return {key: _joined([one[key] for one in targets]) for key in first}
    return first


class WithExpert(Dataset[Any]):
    """A data set whose targets are followed by how good an expert is on the sample.

    Args:
        dataset: any.
        large: of every sample, float (samples,).
    """

    def __init__(self, dataset: Dataset[Any], large: np.ndarray) -> None:
        self.dataset, self.large = dataset, torch.from_numpy(large)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.large)

    def __getitem__(self, index: int) -> Any:
        """Return one sample."""
        inputs, (targets, large) = self.batch(torch.tensor([index]))
        one = None if targets is None else targets[0]
        return inputs[0], (one, large[0])

    def batch(self, indices: Tensor) -> Batch:
        """Return the samples at ``indices``."""
        inputs, targets = batch(self.dataset, indices)
        return Batch(inputs, (targets, self.large[indices]))


class RoutedPart(nn.Module):
    """Some outputs of a graph, of which some nodes stay as they are, in evaluation mode, too.

    Args:
        graph: with parts; see :func:`hwopt.passes.routing.with_parts`.
        outputs: of the graph, by name.
        fixed: names of nodes.
    """

    def __init__(self, graph: Graph, outputs: tuple[str, ...], fixed: Set[str]) -> None:
        super().__init__()
        part = graph.copy()
        part.outputs = {name: graph.outputs[name] for name in outputs}
        remove_unused(part)
        self.network = part.to_torch()
        self._fixed = [one for one in self.network.operations if one.name in fixed]
        read = {name for n in part.nodes() if n.name in fixed for _, name in n.parameters()}
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name not in read)

    def train(self, mode: bool = True) -> RoutedPart:
        """Leave the statistics of what is fixed as they are."""
        super().train(mode)
        for operation in self._fixed:
            operation.train(False)
        return self

    def forward(self, inputs: Tensor) -> Any:
        """Return one output, or a tuple of them."""
        return self.network(inputs)

    def trained(self, graph: Graph) -> Graph:
        """Return a graph with the weights of this part of it."""
        result = graph.copy()
        for name, tensor in self.network.state_dict().items():
            result.set_parameter(name, tensor.detach().clone())
        return result
