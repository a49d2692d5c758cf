"""Latencies of candidates beside the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hwopt.compiler.graph_latency import GraphLatency, Relative
from hwopt.graph import Graph
from hwopt.passes.routing import is_routed, split
from hwopt.routing.routed_parts import coverage_of

if TYPE_CHECKING:
    from torch.utils.data import Dataset


def relative_latencies(
    latency: GraphLatency, base: Graph, graphs: Mapping[str, Graph], samples: Dataset[Any]
) -> dict[str, Relative]:
    """Measure graphs beside a base, by name; of routed ones the expected latency over samples.

    That is the easy way's, and the hard way's for the share of the samples that ask.
    """
    parts: dict[str, list[Graph]] = {
        name: list(split(graph)) if is_routed(graph) else [graph] for name, graph in graphs.items()
    }
    flat = [part for found in parts.values() for part in found]
    measured = iter(latency.relative([base, *flat]))
    results = {}
    for name, found in parts.items():
        of_parts = [next(measured) for _ in found]
        hard = 1 - coverage_of(graphs[name], samples) if len(found) > 1 else 0.0
        weights = (1.0, hard)
        results[name] = Relative(
            *(sum(w * one[k] for w, one in zip(weights, of_parts, strict=False)) for k in range(3))
        )
    return results
