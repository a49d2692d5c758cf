"""Training of routed networks: the small one with its router, and the expert."""

from __future__ import annotations

import functools
from typing import Any

import networkx
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from hwopt.data import DataSet
from hwopt.errors import HwoptError
from hwopt.graph import Graph, Value
from hwopt.passes.route import EXIT, ROUTER
from hwopt.passes.routing import RoutedValues, with_parts
from hwopt.routing.routed_parts import RoutedPart, WithAnswers, answers
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
    routing = RoutedValues.of(graph)
    dataset = data.train if isinstance(data, DataSet) else data
    learns = any(n.startswith(f"{ROUTER}.") and graph.is_trainable(n) for n in graph.parameters)
    if only_router and not learns:
        raise HwoptError(
            f"the router of {graph.name} has nothing to learn: route with router=learned"
        )
    if only_router and any(node.name.startswith(f"{EXIT}.") for node in graph.nodes()):
        raise HwoptError(
            f"{graph.name} has an exit, which must be trained, too: leave only_router out"
        )
    parts = with_parts(graph)
    fixed = _needed_for(parts, "large")
    if only_router:
        fixed |= {node.name for node in parts.nodes() if not node.name.startswith(f"{ROUTER}.")}
    module = RoutedPart(parts, ("small", "score") if learns else ("small",), fixed)
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
    return module.trained(graph)


def _needed_for(parts: Graph, output: str) -> set[str]:
    """Return the nodes that an output depends on."""
    value = parts.outputs[output]
    assert isinstance(value, Value)
    return {value.node, *networkx.ancestors(parts.to_networkx(), value.node)}


def _loss(outputs: Tensor, targets: Tensor, **options: Any) -> Tensor:
    labels, large = targets[:, 0].long(), targets[:, 1:]
    return routing_loss(outputs[:, :-1], large, outputs[:, -1], labels, **options)
