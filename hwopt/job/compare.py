"""Every variant of a job beside the baseline and beside the peers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hwopt.compiler.latency import Latency
from hwopt.job.facts import PeerFacts, VariantFacts

if TYPE_CHECKING:
    from hwopt.graph import Graph


def compare(
    variants: Mapping[str, dict[str, Any]],
    latencies: Mapping[str, dict[str, Any]],
    baseline: str,
) -> dict[str, VariantFacts]:
    """Put the facts of each variant and its latencies together; ratios are of medians.

    They are of means where one of the two has ways for inputs to go: some of its calls are long.

    Args:
        variants: passes, quality, sizes, ... by name; ``has_ways`` of a routed one.
        latencies: ``Latency.to_json`` of ``NAME`` and of ``NAME/PEER``, all of one run.
        baseline: the variant that ratios refer to.
    """
    table = {}
    for name, facts in variants.items():
        has_ways = facts.get("has_ways") or variants[baseline].get("has_ways")
        of = "mean_ms" if has_ways else "median_ms"
        own = latencies[name][of]
        beside = {
            key.removeprefix(f"{name}/"): PeerFacts(
                latency=Latency(**latency), ratio=own / latency[of]
            )
            for key, latency in latencies.items()
            if key.startswith(f"{name}/")
        }
        table[name] = VariantFacts(
            **facts,
            latency=Latency(**latencies[name]),
            ratio_to_baseline=own / latencies[baseline][of],
            peers=beside,
        )
    return table


def sparse_notes(table: Mapping[str, VariantFacts]) -> list[str]:
    """Say of every variant with masked weights what the zeros brought, as measured."""
    return [
        f"{name}: {facts.zeros_masked:.0%} of its values are masked, and it takes "
        f"{facts.ratio_to_baseline:.2f} of the latency of the baseline: kernels are dense, zeros "
        "alone make nothing faster (condense removes channels that are empty)"
        for name, facts in table.items()
        if facts.zeros_masked
    ]


def routed_notes(table: Mapping[str, VariantFacts]) -> list[str]:
    """Say of every variant with ways for inputs to go what its latency is of."""
    return [
        f"{name}: {facts.latency.mean_ms:.3f} ms is the mean of {facts.latency.runs} calls with "
        "test samples"
        + (f"; {100 * facts.easy:.0f} % of these are easy" if facts.easy is not None else "")
        for name, facts in table.items()
        if facts.has_ways
    ]


def masked_share(graph: Graph) -> float:
    """Return the share of the trainable values that masks hold at zero."""
    held = sum(int((~mask).count_nonzero()) for mask in graph.masks.values())
    return held / max(1, graph.num_parameters())
