"""Training of routed networks: the small one with its router, and the expert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import networkx
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from hwopt.data import Batch, DataSet
from hwopt.errors import HwoptError
from hwopt.graph import Graph, Value
from hwopt.passes.route import EXIT, ROUTER
from hwopt.passes.routing import RoutedValues, with_parts
from hwopt.routing.routed_parts import (
    CLASSIFICATION,
    RoutedPart,
    WithExpert,
    evidence_of,
    judged,
)
from hwopt.tasks import Metric, Task
from hwopt.train.loop import fit


def routing_loss(
    score: Tensor,
    asks: Tensor,
    losses: Tensor | None = None,
    *,
    threshold: float = 0.0,
    coverage: float = 0.7,
    strength: float = 1.0,
) -> Tensor:
    """Return what trains the small network and the router, of every sample: (N,).

    The binary cross entropy of the score to whether the expert should be asked, ``strength`` times
    by how much the mean probability of an easy input misses the coverage, and (2 - r) times the
    small network's loss, r whether the router asks. Source: Kag et al. 2023 (Efficient edge
    inference by selective query); the hinge is our reading, on probabilities.

    Args:
        score: (N,); above the threshold the expert is asked.
        asks: where it should be: where it is better; bool (N,).
        losses: of the small network, (N,); None if it does not learn.
        threshold: of the score.
        coverage: the share of the inputs that are to stay easy.
        strength: of the coverage.
    """
    loss = functional.binary_cross_entropy_with_logits(
        score - threshold, asks.to(score.dtype), reduction="none"
    )
    easy = (threshold - score).sigmoid().mean()
    loss = loss + strength * (coverage - easy).clamp(min=0)
    if losses is not None:
        asked = (score > threshold).detach().to(losses.dtype)
        loss = loss + (2 - asked) * losses
    return loss


@dataclass(frozen=True)
class Routed(Task):
    """A task that a small network shares with an expert; see :func:`routing_loss`.

    Outputs are those of the small network and the score; targets are followed by how good the
    expert is on the sample (:class:`hwopt.routing.routed_parts.WithExpert`).
    """

    name = "routed"

    task: Task
    threshold: float = 0.0
    coverage: float = 0.7
    strength: float = 1.0
    with_small: bool = True

    @property
    def metric(self) -> Metric:
        """That of the task, of the small network."""
        return self.task.metric

    def __str__(self) -> str:
        options = self.threshold, self.coverage, self.strength, self.with_small
        return f"routed {self.task} {' '.join(map(str, options))}"

    def feed(self, inputs: Any) -> Any:
        """Return what the task does."""
        return self.task.feed(inputs)

    def complete(self, batch: Batch) -> Batch:
        """Return what the task does; how good the expert is stays beside it."""
        targets, large = batch.targets
        completed = self.task.complete(Batch(batch.inputs, targets))
        return Batch(completed.inputs, (completed.targets, large))

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the loss of routing."""
        small, score = outputs
        targets, large = batch.targets
        inner = Batch(batch.inputs, targets)
        own = evidence_of(self.task, small.detach(), inner)
        asks = torch.from_numpy(self.task.metric.gain(large.numpy(), beside=own) > 0)
        losses = self.task.loss(small, inner) if self.with_small else None
        return routing_loss(
            score,
            asks,
            losses,
            threshold=self.threshold,
            coverage=self.coverage,
            strength=self.strength,
        )

    def evidence(self, outputs: Any, batch: Batch) -> np.ndarray:
        """Return that of the small network."""
        return self.task.evidence(outputs[0], Batch(batch.inputs, batch.targets[0]))


def fit_routed(
    graph: Graph,
    data: DataSet | Dataset[Any],
    task: Task = CLASSIFICATION,
    *,
    coverage: float = 0.7,
    strength: float = 1.0,
    only_router: bool = False,
    **training: Any,
) -> Graph:
    """Return a routed graph with its small network and, if it learns, its router trained.

    The expert is evaluated once on all samples and stays as it is, with all that it reads of the
    small network. With augmentation its answers are still those to the samples as they are. With a
    router that does not learn the small network has the loss of the task alone: so an exit is
    trained.

    Args:
        graph: what the pass ``route`` returns; the two networks should be trained already, but for
            an exit.
        data: of a :class:`hwopt.data.DataSet` the ``train`` split is used. A router learns more
            from samples that the small network was not trained on.
        task: of both networks; its quality must be a mean over the samples.
        coverage, strength: see :func:`routing_loss`.
        only_router: whether the small network stays as it is.
        training: arguments of :func:`hwopt.train.fit`, but its label smoothing and terms.

    Raises:
        HwoptError: if the graph is not routed, nothing would learn, or the task's quality is of all
            samples together.
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
    if learns:
        dataset = WithExpert(dataset, judged(graph, dataset, task).large)
        task = Routed(
            task,
            threshold=routing.threshold,
            coverage=coverage,
            strength=strength,
            with_small=not only_router,
        )
    fit(module, dataset, task, label_smoothing=0.0, **training)
    return module.trained(graph)


def _needed_for(parts: Graph, output: str) -> set[str]:
    """Return the nodes that an output depends on."""
    value = parts.outputs[output]
    assert isinstance(value, Value)
    return {value.node, *networkx.ancestors(parts.to_networkx(), value.node)}
