"""What is known of a candidate before it is trained: predicted, and scored without training."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Subset

from hwopt import passes, train
from hwopt.allocation.allocate import Width
from hwopt.compiler.kernels_of import footprint_of
from hwopt.prediction.network_predictor import FEWEST_NETWORKS
from hwopt.prediction.predictor import Predictor
from hwopt.search.candidate import ROUTE
from hwopt.search.prior import Prior, prior
from hwopt.search.space import Space
from hwopt.targets.latency_table import LatencyTable
from hwopt.train.cpu import set_threads

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from hwopt.compiler.graph_latency import GraphLatency
    from hwopt.graph import Graph
    from hwopt.job import Job, Variant
    from hwopt.search.recipe import CandidateLimits

#: The upper end of an interval that is good enough, as a multiple of the lower one.
_SURE = 1.3
#: Loss that a choice of which nothing is known is taken to cost.
_UNKNOWN = 1e-6
#: Batches that the loss before training is the mean over.
_BATCHES = 20


class Knowledge:
    """Asks the device's latency table first, and measures what it has not.

    Args:
        job: has the data, and what passes may ask for.
        latency: measures.
    """

    def __init__(self, job: Job, latency: GraphLatency) -> None:
        self.job, self.latency = job, latency

    def of(
        self, space: Space, base: Graph, models: Mapping[str, Sequence[Graph]]
    ) -> dict[str, Any]:
        """Return the choices that are possible, and what every one does by itself, as JSON.

        Args:
            space: of the network.
            base: the baseline, trained.
            models: for some dimensions, networks of their other values, not trained: of these the
                latency is known before, and the loss taken for that of the unchanged one.

        Of routes nothing is known before they are trained: they count as unchanged, and a little
        worse, so that none is asked for without a reason.
        """
        context = self.job.context()
        others = [name for name in space.dimensions if name == ROUTE or name in models]
        rest = {name: v for name, v in space.dimensions.items() if name not in others}
        found = Prior(Space(space.passes, {}), {}, [])
        if rest:
            found = prior(
                Space(space.passes, rest),
                lambda text: passes.apply(base, text, context),
                functools.partial(self._shares, base),
                self._loss,
            )
        table = {name: [dataclasses.asdict(w) for w in ws] for name, ws in found.table.items()}
        for name, graphs in models.items():
            shares = [1.0, *self._shares(base, graphs)]
            widths = [Width(len(shares) - n, share, 0.0) for n, share in enumerate(shares)]
            table[name] = [dataclasses.asdict(width) for width in widths]
        if ROUTE in others:
            ways = len(space.dimensions[ROUTE])
            widths = [Width(ways - n, 1.0, -_UNKNOWN if n else 0.0) for n in range(ways)]
            table[ROUTE] = [dataclasses.asdict(width) for width in widths]
        dimensions = {**found.space.dimensions, **{n: space.dimensions[n] for n in others}}
        return {"dimensions": dimensions, "table": table, "refused": found.refused}

    def over(
        self, variant: Variant, base: Graph, unchanged: Graph, limits: CandidateLimits
    ) -> str | None:
        """Say which limit a candidate is over for sure, before it is trained.

        Args:
            variant: what is done to ``base``.
            base: the model of the candidate.
            unchanged: the network whose latency shares are of.
            limits: of the search.
        """
        if variant.route or not limits.model_dump(exclude={"quality"}, exclude_none=True):
            return None
        graph = passes.apply(base, variant.passes, self.job.context())
        footprint, predictor = footprint_of(graph, self.job.target), self._predictor()
        found: list[tuple[str, float, float | None]] = [
            ("bytes of memory", footprint.activation_bytes, limits.memory_bytes),
            ("bytes", footprint.kept_bytes, limits.bytes),
        ]
        if predictor is not None and (limits.ms or limits.share):
            low, whole = predictor(graph).low_ms, predictor(unchanged).ms
            found += [("ms", low, limits.ms), ("of the latency", low / whole, limits.share)]
        for what, least, limit in found:
            if limit is not None and least > limit:
                return f"at least {least:.4g} {what} predicted, {limit} allowed"
        return None

    def _shares(self, base: Graph, graphs: Sequence[Graph]) -> list[float]:
        """Return shares of the latency, predicted where the device's table is sure of all."""
        predictor = self._predictor()
        if predictor is not None:
            whole, *found = (predictor(graph) for graph in (base, *graphs))
            if all(one.high_ms <= _SURE * one.low_ms for one in (whole, *found)):
                return [one.ms / whole.ms for one in found]
        return [one.ratio for one in self.latency.relative([base, *graphs])]

    def _predictor(self) -> Predictor | None:
        """Return a predictor, if the device's table has enough to be one."""
        table = LatencyTable(self.job.target)
        return Predictor(table) if len(table.networks) >= FEWEST_NETWORKS else None

    @functools.cached_property
    def _seen(self) -> Dataset[Any]:
        """Some training samples, for the loss before training."""
        samples = self.job.data.train
        length: int = len(samples)  # type: ignore[arg-type]
        drawn = torch.Generator().manual_seed(self.job.recipe.seed)
        order = torch.randperm(length, generator=drawn)[: _BATCHES * passes.BATCH_SIZE]
        return Subset(samples, order.tolist())

    def _loss(self, graph: Graph) -> float:
        """Return the mean loss on training samples, with batch norms as they would be."""
        context = self.job.context()
        settled = passes.apply(graph, "reestimate-batch-norm{batches=10}", context)
        with set_threads(self.job.threads):
            return train.evaluate(settled.to_torch(), self._seen, self.job.task).loss
