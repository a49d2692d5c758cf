"""The pictures of a study: its front, and how its hypervolume grew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hwopt.report.plots import COLOURS, latency_label, new_figure
from hwopt.report.study_texts import span
from hwopt.report.study_view import Study, front, measured, steps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _AMBER, _GREEN = COLOURS[:3]
_GREY = "#9ca3af"
#: A marker for every peer, until they repeat.
_PEERS = "s^vP*Xph<>"


def front_plot(study: Study) -> Figure:
    """Plot every measured trial, the front as steps, the baseline and the peers.

    Args:
        study: as :func:`hwopt.report.study_view.complete` returns it.
    """
    figure, axes = new_figure(6.4, 4.4)
    best = front(study)
    others = [trial for trial in measured(study) if trial["number"] not in study["front"]]
    corners = steps(study)
    widths = [trial["latency"]["median_ms"] for trial in corners]
    heights = [100 * trial["accuracy"] for trial in corners]
    axes.plot(widths, heights, color=_BLUE, drawstyle="steps-post", linewidth=1.2)
    _points(axes, others, "other measured trials", fmt="o", color=_GREY, markersize=4)
    _points(axes, best, "front", fmt="o", color=_BLUE, markersize=6)
    _points(axes, [study["baseline"]], "baseline", fmt="D", color=_AMBER)
    for index, peer in enumerate(study["peers"]):
        if peer["accuracy"] is not None and peer["latency"]:
            marker = _PEERS[index % len(_PEERS)]
            _points(axes, [peer], peer["name"], fmt=marker, color=_GREEN, markerfacecolor="white")
    has_intervals = any("low_ms" in trial["latency"] for trial in measured(study))
    shown = "median and its interval" if has_intervals else "median, p10–p90"
    axes.set_xlabel(latency_label(study["threads"], shown))
    axes.set_ylabel("accuracy in %")
    axes.set_xlim(left=0)
    axes.margins(y=0.1)
    axes.legend(frameon=False, fontsize=8)
    return figure


def hypervolume_plot(study: Study) -> Figure:
    """Plot the hypervolume against the number of measured trials."""
    figure, axes = new_figure(6.4, 3.2)
    counts = [count for count, _ in study["hypervolume"]]
    values = [value for _, value in study["hypervolume"]]
    axes.plot(counts, values, color=_BLUE, drawstyle="steps-post", marker="o", markersize=3)
    axes.set_xlabel("measured trials")
    axes.set_ylabel("hypervolume")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    return figure


def _points(axes: Any, entries: list[dict[str, Any]], label: str, **style: Any) -> None:
    """Draw points with their whiskers; a name from a user is no formula, even with dollar signs."""
    if not entries:
        return
    latencies = [entry["latency"] for entry in entries]
    spans = [span(latency) for latency in latencies]
    axes.errorbar(
        [latency["median_ms"] for latency in latencies],
        [100 * entry["accuracy"] for entry in entries],
        xerr=[
            [
                max(0, one["median_ms"] - low)
                for one, (low, _) in zip(latencies, spans, strict=True)
            ],
            [
                max(0, high - one["median_ms"])
                for one, (_, high) in zip(latencies, spans, strict=True)
            ],
        ],
        label=label.replace("$", r"\$"),
        elinewidth=0.8,
        capsize=2,
        **style,
    )
