"""Training of routed networks: the small one and the router, for an expert that stays as it is."""

from __future__ import annotations

import functools
from typing import Any

import networkx
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from hwopt.data import DataSet, batch, batches
from hwopt.errors import HwoptError
from hwopt.graph import Graph, Value
from hwopt.graph.cleanup import remove_unused
from hwopt.passes.route import ROUTER
from hwopt.passes.routing import Routing, with_parts
from hwopt.train.evaluation import Loss
from hwopt.train.loop import fit


def would_help(small: Tensor, large: Tensor, labels: Tensor) -> Tensor:
    """Return where the expert should be asked: bool (N,), the small answer wrong, the large right.

    Args:
        small, large: logits (N, classes).
        labels: int64 (N,).

    >>> small, large = torch.eye(2)[[0, 1, 1, 0]], torch.eye(2)[[0, 0, 1, 1]]
    >>> would_help(small, large, torch.tensor([0, 0, 0, 0]))
    tensor([False,  True, False, False])
    """
    return (small.argmax(1) != labels) & (large.argmax(1) == labels)


def routing_loss(
    small: Tensor,
    large: Tensor,
    score: Tensor,
    labels: Tensor,
    *,
    threshold: float = 0.0,
    coverage: float = 0.7,
    strength: float = 1.0,
    with_small: bool = True,
) -> Tensor:
    """Return what trains the small network and the router, a scalar.

    The binary cross entropy of the score to :func:`would_help`, ``strength`` times by how much the
    mean probability of an easy input misses the coverage, and the mean of (2 - r) times the small
    network's cross entropy, r whether the router asks. Source: Kag et al. 2023 (Efficient edge
    inference by selective query); the hinge is our reading, on probabilities.

    Args:
        small, large: logits (N, classes); nothing is learned by the large ones.
        score: (N,); above the threshold the expert is asked.
        labels: int64 (N,).
        threshold: of the score.
        coverage: the share of the inputs that are to stay easy.
        strength: of the coverage.
        with_small: whether the small network learns, too.
    """
    asks = would_help(small.detach(), large, labels)
    loss = functional.binary_cross_entropy_with_logits(score - threshold, asks.to(score.dtype))
    easy = (threshold - score).sigmoid().mean()
    loss = loss + strength * (coverage - easy).clamp(min=0)
    if with_small:
        asked = (score > threshold).detach().to(small.dtype)
        wrong = functional.cross_entropy(small, labels, reduction="none")
        loss = loss + ((2 - asked) * wrong).mean()
    return loss


def fit_routed(
    graph: Graph,
    data: DataSet | Dataset[Any],
    *,
    coverage: float = 0.7,
    strength: float = 1.0,
    only_router: bool = False,
    **training: Any,
) -> Graph:
    """Return a routed graph with its small network and, if it learns, its router trained.

    The expert is evaluated once on all samples and stays as it is, with all that it reads of the
    small network. With augmentation its answers
    are still those to the samples as they are. With a router that does not learn the small network
    has its cross entropy alone: so an exit is trained.

    Args:
        graph: what the pass ``route`` returns; the two networks should be trained already, but for
            an exit.
        data: of a :class:`hwopt.data.DataSet` the ``train`` split is used. A router learns more
            from samples that the small network was not trained on.
        coverage, strength: see :func:`routing_loss`.
        only_router: whether the small network stays as it is.
        training: arguments of :func:`hwopt.train.fit`, but its loss, label smoothing and terms.

    Raises:
        HwoptError: if the graph is not routed, or nothing would learn.
    """
    routing = Routing.of(graph)
    dataset = data.train if isinstance(data, DataSet) else data
    learns = any(n.startswith(f"{ROUTER}.") and graph.is_trainable(n) for n in graph.parameters)
    if only_router and not learns:
        raise HwoptError(
            f"the router of {graph.name} has nothing to learn: route with router=learned"
        )
    parts = with_parts(graph)
    module = _Cheap(parts, only_router, learns)
    loss: Loss = functional.cross_entropy
    if learns:
        dataset = WithAnswers(dataset, torch.from_numpy(answers(graph, dataset)[1]))
        loss = functools.partial(
            _loss,
            threshold=routing.threshold,
            coverage=coverage,
            strength=strength,
            with_small=not only_router,
        )
    fit(module, dataset, loss=loss, label_smoothing=0.0, **training)
    trained = graph.copy()
    for name, tensor in module.network.state_dict().items():
        trained.set_parameter(name, tensor.detach().clone())
    return trained


def answers(
    graph: Graph, dataset: Dataset[Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what a routed graph's parts say of all samples, and the labels.

    Returns:
        The small answers and the large ones, float32 (n, classes), the scores, float32 (n,), and
        the labels, int64 (n,): what :func:`hwopt.search.routes.route_points` takes.
    """
    module = with_parts(graph).to_torch().eval()
    with torch.no_grad():
        found = [(*module(inputs), labels) for inputs, labels in batches(dataset, 500)]
    small, large, score, labels = (torch.cat(part).numpy() for part in zip(*found, strict=True))
    return small, large, score, labels


def coverage_of(graph: Graph, dataset: Dataset[Any]) -> float:
    """Return the share of samples that a routed graph finds easy."""
    score = answers(graph, dataset)[2]
    return float((score <= Routing.of(graph).threshold).mean())


class WithAnswers(Dataset[Any]):
    """A data set whose targets are the label and the expert's logits: float32 (1 + classes,)."""

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


class _Cheap(nn.Module):
    """Trains what the expert does not read: the small network and the router.

    Args:
        parts: of a routed graph; see :func:`hwopt.passes.routing.with_parts`.
        only_router: leave the small network as it is.
        with_score: put the score behind the small logits.
    """

    def __init__(self, parts: Graph, only_router: bool, with_score: bool) -> None:
        super().__init__()
        self.with_score = with_score
        large = parts.outputs["large"]
        assert isinstance(large, Value)
        fixed = networkx.ancestors(parts.to_networkx(), large.node)
        cheap = parts.copy()
        del cheap.outputs["large"]
        remove_unused(cheap)
        if only_router:
            fixed |= {node.name for node in cheap.nodes() if not node.name.startswith(f"{ROUTER}.")}
        self.network = cheap.to_torch()
        self._fixed = [one for one in self.network.operations if one.name in fixed]
        read = {name for n in cheap.nodes() if n.name in fixed for _, name in n.parameters()}
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name not in read)

    def train(self, mode: bool = True) -> _Cheap:
        """Leave the statistics of what is fixed as they are, too."""
        super().train(mode)
        for operation in self._fixed:
            operation.train(False)
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, classes), or (N, classes + 1) with the score."""
        small, score = self.network(inputs)
        return torch.cat([small, score[:, None]], 1) if self.with_score else small


def _loss(outputs: Tensor, targets: Tensor, **options: Any) -> Tensor:
    labels, large = targets[:, 0].long(), targets[:, 1:]
    return routing_loss(outputs[:, :-1], large, outputs[:, -1], labels, **options)
