"""The table of a job: every variant beside the baseline and beside the peers."""

from __future__ import annotations

from typing import Any

from hwopt.job.recipe import Recipe

#: What an artefact's manifest keeps of its line in the table.
MEASURED = ("accuracy", "test_samples", "check", "latency", "ratio_to_baseline", "peers")


def compare(
    variants: dict[str, dict[str, Any]], latencies: dict[str, dict[str, Any]], recipe: Recipe
) -> dict[str, dict[str, Any]]:
    """Put the facts of each variant and its latencies together; ratios are of medians.

    They are of means where one of the two has ways for inputs to go: some of its calls are long.

    Args:
        variants: passes, accuracy, sizes, ... by name; ``has_ways`` of a routed one.
        latencies: ``Latency.to_json`` of ``NAME`` and of ``NAME/PEER``, all of one run.
        recipe: names the baseline and the peers; those that were not measured are left out.

    >>> recipe = Recipe(model="resnet8", data="digits", variants={"dense": {}}, peers=["torch"])
    >>> table = compare({"dense": {}}, {"dense": {"median_ms": 1}, "dense/torch": {"median_ms": 2}},
    ...     recipe)
    >>> table["dense"]["ratio_to_baseline"], table["dense"]["peers"]["torch"]["ratio"]
    (1.0, 0.5)
    """
    table = {}
    for name, facts in variants.items():
        has_ways = facts.get("has_ways") or variants[recipe.baseline].get("has_ways")
        of = "mean_ms" if has_ways else "median_ms"
        baseline, own = latencies[recipe.baseline][of], latencies[name][of]
        beside = {
            peer: {
                "latency": latencies[f"{name}/{peer}"],
                "ratio": own / latencies[f"{name}/{peer}"][of],
            }
            for peer in recipe.peers
            if f"{name}/{peer}" in latencies
        }
        table[name] = {
            **facts,
            "latency": latencies[name],
            "ratio_to_baseline": own / baseline,
            "peers": beside,
        }
    return table


def sparse_notes(table: dict[str, dict[str, Any]]) -> list[str]:
    """Say of every variant with masked weights what the zeros brought, as measured.

    >>> facts = {"zeros_masked": 0.9, "ratio_to_baseline": 1.0, "bytes": 10}
    >>> sparse_notes({"sparse": facts})[0].split(":")[0]
    'sparse'
    """
    return [
        f"{name}: {facts['zeros_masked']:.0%} of its values are masked, and it takes "
        f"{facts['ratio_to_baseline']:.2f} of the latency of the baseline: kernels are dense, "
        "zeros alone make nothing faster (condense removes channels that are empty)"
        for name, facts in table.items()
        if facts.get("zeros_masked")
    ]


def routed_notes(table: dict[str, dict[str, Any]]) -> list[str]:
    """Say of every variant with ways for inputs to go what its latency is of.

    >>> latency = {"mean_ms": 0.1, "runs": 500}
    >>> routed_notes({"routed": {"has_ways": True, "easy": 0.7, "latency": latency}})
    ['routed: 0.100 ms is the mean of 500 calls with test samples; 70 % of these are easy']
    """
    return [
        f"{name}: {facts['latency']['mean_ms']:.3f} ms is the mean of {facts['latency']['runs']} "
        "calls with test samples"
        + (f"; {100 * facts['easy']:.0f} % of these are easy" if "easy" in facts else "")
        for name, facts in table.items()
        if facts.get("has_ways")
    ]
