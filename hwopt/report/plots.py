"""The pictures of a report: quality against latency, and latency by kernel."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hwopt.job.results import JobResults

COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2")
_MARKERS = {"onnxruntime": "s", "torch": "^", "torch.compile": "v"}


def quality_against_latency(results: JobResults) -> Figure:
    """Plot every variant, and its peers, with the span from the 10th to the 90th percentile."""
    figure, axes = new_figure(6.4, 4.0)
    metric = results.metric.metric
    for colour, (name, facts) in zip(_colours(results), results.variants.items(), strict=True):
        quality = metric.scale * (facts.quality or 0.0)
        points = {"hwopt": facts.latency}
        points |= {peer: entry.latency for peer, entry in facts.peers.items()}
        for runtime, latency in points.items():
            typical = latency.mean_ms if facts.has_ways else latency.median_ms
            # A mean may lie beyond a percentile.
            span = [[max(0, typical - latency.p10_ms)], [max(0, latency.p90_ms - typical)]]
            axes.errorbar(
                typical,
                quality,
                xerr=span,
                fmt=_MARKERS.get(runtime, "o"),
                color=colour,
                markerfacecolor=colour if runtime == "hwopt" else "white",
                capsize=3,
                label=f"{name}, {runtime}",
            )
    axes.set_xlabel(latency_label(results.threads))
    axes.set_ylabel(f"test {metric.axis}")
    axes.set_xlim(left=0)
    axes.margins(y=0.3)
    axes.legend(frameon=False, fontsize=8)
    return figure


def latency_label(threads: int, shown: str = "median, p10–p90") -> str:
    """Return the title of an axis of latencies, and of what is shown of them.

    >>> latency_label(1)
    'latency in ms, 1 thread (median, p10–p90)'
    """
    return f"latency in ms, {threads} thread{'s' * (threads != 1)} ({shown})"


def latency_by_kernel(results: JobResults) -> Figure:
    """Plot the time of every kernel, as tuned by itself, stacked by variant."""
    variants = results.variants
    figure, axes = new_figure(6.4, 1.2 + 0.9 * len(variants))
    for row, facts in enumerate(variants.values()):
        left = 0.0
        timed = [(k.median_us * k.calls) for k in facts.kernels if k.median_us is not None]
        for index, width in enumerate(timed):
            colour = COLOURS[index % len(COLOURS)]
            axes.barh(row, width, left=left, height=0.6, color=colour, edgecolor="white")
            left += width
        if not timed:
            axes.text(0, row, " no kernel was measured (kernel_trials=0)", va="center")
    axes.set_yticks(range(len(variants)), list(variants))
    axes.invert_yaxis()
    axes.set_xlabel("us, each kernel measured by itself (one block a kernel, in order)")
    return figure


def curves(
    measured: Mapping[str, Mapping[float, float]],
    x: str,
    y: str,
    laws: Mapping[str, Callable[[float], float]] | None = None,
    logarithmic: str = "x",
) -> Figure:
    """Plot measured points by name, joined by lines, or beside the law that was fitted to them.

    Args:
        measured: from x to y, by the name of the curve.
        x, y: titles of the axes.
        laws: by the name of a curve, from x to y.
        logarithmic: the axes that are: "x", "y", "xy" or "".
    """
    figure, axes = new_figure(6.4, 4.0)
    for index, (name, points) in enumerate(measured.items()):
        colour = COLOURS[index % len(COLOURS)]
        style = "-" if index < len(COLOURS) else "--"
        law = (laws or {}).get(name)
        places, values = zip(*sorted(points.items()), strict=True)
        line = "none" if law else style
        axes.plot(places, values, marker="o", color=colour, linestyle=line, label=name)
        if law:
            axes.plot(places, [law(place) for place in places], color=colour, linestyle="--")
    axes.set_xscale("log" if "x" in logarithmic else "linear")
    axes.set_yscale("log" if "y" in logarithmic else "linear")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(frameon=False, fontsize=8)
    return figure


def png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def _colours(results: JobResults) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(len(results.variants))]


def new_figure(width: float, height: float) -> tuple[Figure, Any]:
    """Return a figure of that many inches, and its one pair of axes.

    >>> figure, axes = new_figure(4, 3)
    >>> png(figure)[1:4]
    b'PNG'
    """
    # Not pyplot: no global state, and no window system is looked for.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
