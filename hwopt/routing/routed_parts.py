"""What a routed network says of samples, and its parts as modules that are trained alone."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from hwopt.data import batch, batches
from hwopt.graph import Graph
from hwopt.graph.cleanup import remove_unused
from hwopt.passes.routing import RoutedValues, with_parts


def answers(
    graph: Graph, dataset: Dataset[Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what a routed graph's parts say of all samples, and the labels.

    Returns:
        The small answers and the large ones, float32 (n, classes), the scores, float32 (n,), and
        the labels, int64 (n,): what :func:`hwopt.routing.routes.route_points` takes.
    """
    module = with_parts(graph).to_torch().eval()
    with torch.no_grad():
        found = [(*module(inputs), labels) for inputs, labels in batches(dataset, 500)]
    small, large, score, labels = (torch.cat(part).numpy() for part in zip(*found, strict=True))
    return small, large, score, labels


def coverage_of(graph: Graph, dataset: Dataset[Any]) -> float:
    """Return the share of samples that a routed graph finds easy."""
    score = answers(graph, dataset)[2]
    return float((score <= RoutedValues.of(graph).threshold).mean())


class WithAnswers(Dataset[Any]):
    """A data set whose targets are the label and what a network said of it: float32 (1 + n,).

    Args:
        dataset: with labels.
        answers: float32 (samples, n).
    """

    def __init__(self, dataset: Dataset[Any], answers: Tensor) -> None:
        self.dataset, self.answers = dataset, answers

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.answers)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one sample."""
        inputs, targets = self.batch(torch.tensor([index]))
        return inputs[0], targets[0]

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the samples at ``indices``."""
        inputs, labels = batch(self.dataset, indices)
        return inputs, torch.cat([labels[:, None].float(), self.answers[indices]], 1)


class RoutedPart(nn.Module):
    """Some outputs of a graph, of which some nodes stay as they are, in evaluation mode, too.

    Args:
        graph: with parts; see :func:`hwopt.passes.routing.with_parts`.
        outputs: of the graph, by name; if two, the second one, (N,), stands behind the first.
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

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, classes), or (N, classes + 1) of two outputs."""
        found = self.network(inputs)
        if isinstance(found, Tensor):
            return found
        first, second = found
        return torch.cat([first, second[:, None]], 1)

    def trained(self, graph: Graph) -> Graph:
        """Return a graph with the weights of this part of it."""
        result = graph.copy()
        for name, tensor in self.network.state_dict().items():
            result.set_parameter(name, tensor.detach().clone())
        return result
