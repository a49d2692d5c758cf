"""What the page of a job says and draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hwopt.job.table import measured_peers, verdict

if TYPE_CHECKING:
    from hwopt.compiler.latency import Latency
    from hwopt.job.facts import VariantFacts
    from hwopt.job.results import JobResults
    from hwopt.tasks import Metric


def chosen(results: JobResults) -> str | None:
    """Return the variant that the page tells of: the best, or the fastest beside the baseline."""
    if results.best not in (None, results.baseline):
        return results.best
    others = [name for name in results.variants if name != results.baseline]
    return min(others, key=lambda name: results.variants[name].ratio_to_baseline, default=None)


def tiles(results: JobResults) -> list[tuple[str, str, str]]:
    """Return the few numbers that the page begins with: name, value, what it means."""
    metric, best = results.metric.metric, results.best
    if best is None:
        return [("best", "none", verdict(results).partition(": ")[2])]
    facts, baseline = results.variants[best], results.variants[results.baseline]
    found = [("best", f"{facts.typical_ms:.3f} ms", f"{best}, {facts.passes or 'as it was'}")]
    if best != results.baseline:
        text = f"of the latency of {results.baseline}, {baseline.typical_ms:.3f} ms"
        found.append(("beside the baseline", f"{facts.ratio_to_baseline:.2f}", text))
    for name, peer in facts.peers.items():
        text = f"of the {peer.latency.median_ms:.3f} ms that it takes for the same network"
        found.append((f"beside {name}", f"{peer.ratio:.2f}", text))
    if facts.quality is not None:
        text = f"{metric.show(facts.low)} to {metric.show(facts.high)} with 95 %"
        if best != results.baseline and baseline.quality is not None:
            text += f"; {metric.show_difference(facts.quality, baseline.quality)}"
        found.append((metric.name, metric.show(facts.quality), text))
    text = f"of weights and code; {facts.memory_bytes / 1024:,.0f} KB of memory for values"
    return [*found, ("size", f"{facts.kept_bytes / 1024:,.0f} KB", text)]


class Bar(NamedTuple):
    """A figure after a step, and a bar from what it was before; all in per cent of the most.

    Attributes:
        text: the figure.
        start, width: of the bar.
        is_gain: whether it became better.
    """

    text: str
    start: float = 0.0
    width: float = 0.0
    is_gain: bool = True


def waterfall(results: JobResults, name: str) -> list[tuple[str, tuple[Bar, ...]]]:
    """Return what a variant was from the baseline on, after every step.

    Returns:
        By step, bars of quality, latency as a ratio to the baseline, and size; nothing where the
        baseline has passes of its own.
    """
    metric = results.metric.metric
    if results.variants[results.baseline].passes:
        return []  # what it was made of is not what the variant was made of
    first, facts = results.variants[results.baseline], results.variants[name]
    rows: list[tuple[str, Any, float | None, int]] = [
        (results.baseline, first.quality, 1.0, first.kept_bytes)
    ]
    for step in facts.steps[:-1]:
        ratio = facts.ratio_to_baseline if step.is_final else None
        rows.append((step.step, step.quality, ratio, step.kept_bytes))
    last = facts.steps[-1].step if facts.steps else "passes"
    rows.append((last, facts.quality, facts.ratio_to_baseline, facts.kept_bytes))
    qualities = [abs(row[1]) for row in rows if row[1] is not None]
    largest = max(row[3] for row in rows)
    most = (max(qualities, default=0) or 1, max(1.0, facts.ratio_to_baseline), largest)
    found: list[tuple[str, tuple[Bar, ...]]] = []
    before = rows[0]
    for row in rows:
        bars = (
            _bar(row[1], before[1], most[0], metric.show(row[1]), metric.higher_is_better),
            _bar(row[2], before[2], most[1], "–" if row[2] is None else f"{row[2]:.2f}", False),
            _bar(row[3], before[3], most[2], f"{row[3] / 1024:,.0f} KB", False),
        )
        found.append((row[0], bars))
        known = tuple(now if now is not None else was for now, was in zip(row, before, strict=True))
        before = (known[0], known[1], known[2], known[3])
    return found


def _bar(
    now: float | None, before: float | None, most: float, text: str, more_is_better: bool
) -> Bar:
    if now is None or before is None:
        return Bar(text)
    low, high = sorted((100 * abs(now) / most, 100 * abs(before) / most))
    return Bar(text, round(low, 2), round(high - low, 2), (now >= before) == more_is_better)


def changed(results: JobResults) -> list[tuple[str, str, str]]:
    """Return what is new against the last job of the folder: what, before, and now."""
    earlier = results.earlier
    if earlier is None:
        return []
    found = [
        (f"recipe: {key}", _shown(earlier.recipe.get(key)), _shown(results.recipe.get(key)))
        for key in sorted({*earlier.recipe, *results.recipe})
        if earlier.recipe.get(key) != results.recipe.get(key)
    ]
    for name in {**earlier.variants, **results.variants}:
        before = _figures(earlier.metric.metric, earlier.variants.get(name))
        facts = results.variants.get(name)
        known = None if facts is None else (facts.quality, facts.typical_ms)
        now = _figures(results.metric.metric, known)
        if before != now:
            found.append((name, before, now))
    return found


def _figures(metric: Metric, known: tuple[float | None, float] | None) -> str:
    """Return quality and latency as text."""
    return "–" if known is None else f"{metric.name} {metric.show(known[0])}, {known[1]:.3f} ms"


def _shown(value: Any) -> str:
    import json

    return "–" if value is None else value if isinstance(value, str) else json.dumps(value)


def drawn(results: JobResults) -> dict[str, Any]:
    """Return what the page's script draws: figures as numbers, and what it says as texts."""
    metric = results.metric.metric
    points = []
    for name, facts in results.variants.items():
        for runtime, latency in (
            ("hwopt", facts.latency),
            *((peer, one.latency) for peer, one in facts.peers.items()),
        ):
            typical = facts.typical_ms if runtime == "hwopt" else latency.median_ms
            points.append(
                {
                    "variant": name,
                    "runtime": runtime,
                    "quality": facts.quality,
                    "ms": typical,
                    "low": min(typical, latency.p10_ms),
                    "high": max(typical, latency.p90_ms),
                    "facts": _facts(results, facts, latency, typical, runtime == "hwopt"),
                }
            )
    return {
        "points": points,
        "best": results.best,
        "baseline": results.baseline,
        "metric": {"axis": f"test {metric.axis}", "name": metric.name, "scale": metric.scale},
        # A list: objects of JSON have no order.
        "kernels": [
            (
                name,
                [
                    {
                        "name": one.name,
                        "road": one.road,
                        "calls": one.calls,
                        "us": None if one.median_us is None else one.median_us * one.calls,
                        "gigamacs": one.macs / one.median_us / 1e3 if one.median_us else None,
                    }
                    for one in facts.kernels
                ],
            )
            for name, facts in results.variants.items()
        ],
    }


def _facts(
    results: JobResults, facts: VariantFacts, latency: Latency, typical: float, is_ours: bool
) -> list[tuple[str, str]]:
    metric = results.metric.metric
    quality = metric.show_within(facts.quality, facts.low, facts.high)
    span = f"{typical:.3f} ms ({latency.p10_ms:.3f}–{latency.p90_ms:.3f})"
    found = [(metric.name, quality), ("latency", span)]
    if is_ours:
        found += [("ratio to baseline", f"{facts.ratio_to_baseline:.2f}")]
        found += [
            (f"ratio to {peer}", f"{facts.peers[peer].ratio:.2f}")
            for peer in measured_peers(results)
            if peer in facts.peers
        ]
        found += [("MACs", f"{facts.macs / 1e6:.2f} M"), ("size", f"{facts.kept_bytes:,} bytes")]
    return found
