"""The table that a job ends with, as titles and lines of text, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hwopt.job.results import JobResults


def header(results: JobResults) -> list[str]:
    """Return the column titles: one more for every measured peer."""
    titles = ["variant", f"test {results.metric.name} (95 %)", "median ms (p10–p90)"]
    titles += [f"ratio to {beside}" for beside in (results.baseline, *measured_peers(results))]
    return [*titles, "parameters", "MACs", "bytes on disk"]


def rows(results: JobResults) -> Iterator[list[str]]:
    """Yield one row a variant, as text."""
    for name, facts in results.variants.items():
        latency, mean = facts.latency, "mean " * facts.has_ways
        yield [
            name,
            results.metric.metric.show_within(facts.quality, facts.low, facts.high),
            f"{mean}{facts.typical_ms:.3f} ({latency.p10_ms:.3f}–{latency.p90_ms:.3f})",
            f"{facts.ratio_to_baseline:.2f}",
            *(
                f"{facts.peers[peer].ratio:.2f}" if peer in facts.peers else "–"
                for peer in measured_peers(results)
            ),
            f"{facts.parameters:,}",
            f"{facts.macs / 1e6:.2f} M",
            f"{facts.bytes:,}",
        ]


def measured_peers(results: JobResults) -> list[str]:
    """Return the peers that any variant was measured beside."""
    return list({peer: None for facts in results.variants.values() for peer in facts.peers})


def verdict(results: JobResults) -> str:
    """Return which variant is best, or why none is."""
    if results.best is not None:
        facts = results.variants[results.best]
        quality = results.metric.metric.show(facts.quality)
        return (
            f"best: {results.best}: {facts.typical_ms:.3f} ms, {facts.ratio_to_baseline:.2f} of "
            f"{results.baseline}, {quality}"
        )
    reasons = [f"{name} {' and '.join(_misses(results, name))}" for name in results.variants]
    return f"no variant is within the limits and good enough: {'; '.join(reasons)}"


def _misses(results: JobResults, name: str) -> list[str]:
    """Return what keeps a variant from being best."""
    facts, metric = results.variants[name], results.metric.metric
    found = [f"takes {one}" for one in results.exceeded(name)]
    if not results.is_good(name):
        beside = results.variants[results.baseline].quality
        if facts.quality is None or beside is None:
            found.append("is of a quality that is not known")
        else:
            difference = metric.show_difference(facts.quality, beside)
            found.append(f"is at {metric.show(facts.quality)}, {difference}")
    return found


def caption(results: JobResults) -> str:
    """Return what one must know to read the table."""
    target = results.target
    runs = next(iter(results.variants.values())).latency.runs
    return (
        f"{results.recipe['model']} on {results.data}; {target.cpu} ({target.isa}), "
        f"{results.threads} threads, batch 1, {runs} runs each, alternating in one run. "
        "A ratio below 1 is faster; between the figures in brackets quality is with 95 %."
    )


def markdown_table(results: JobResults) -> str:
    """Return the table as Markdown, with its caption below."""
    return f"{markdown(header(results), rows(results))}\n\n{caption(results)}\n"


def markdown(titles: list[str], lines: Iterable[list[str]]) -> str:
    """Return a Markdown table; all but the first column are aligned to the right.

    >>> print(markdown(["net", "ms"], [["resnet8", "0.1"]]))
    | net | ms |
    | --- | ---: |
    | resnet8 | 0.1 |
    """
    every = [titles, ["---"] + ["---:"] * (len(titles) - 1), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in every)
