"""The pictures of a study: its front, and how its hypervolume grew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hwopt.report.plots import COLOURS, latency_label, new_figure
from hwopt.report.study_view import steps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hwopt.search.results import NetworkFacts, StudyResults

_BLUE, _AMBER, _GREEN = COLOURS[:3]
_GREY = "#9ca3af"
#: A marker for every peer, until they repeat.
_PEERS = "s^vP*Xph<>"


def front_plot(study: StudyResults) -> Figure:
    """Plot every measured trial, the front as steps, the baseline and the peers."""
    figure, axes = new_figure(6.4, 4.4)
    others = [trial for trial in study.measured if trial.number not in study.on_front]
    corners = steps(study)
    widths = [trial.median_ms for trial in corners]
    metric = study.metric.metric
    heights = [metric.scale * (trial.quality or 0.0) for trial in corners]
    axes.plot(widths, heights, color=_BLUE, drawstyle="steps-post", linewidth=1.2)
    scale = metric.scale
    _points(axes, others, scale, "other measured trials", fmt="o", color=_GREY, markersize=4)
    _points(axes, study.front, scale, "front", fmt="o", color=_BLUE, markersize=6)
    _points(axes, [study.baseline], scale, "baseline", fmt="D", color=_AMBER)
    for index, peer in enumerate(study.peers):
        if peer.quality is not None and peer.latency is not None:
            marker = _PEERS[index % len(_PEERS)]
            style = {"fmt": marker, "color": _GREEN, "markerfacecolor": "white"}
            _points(axes, [peer], scale, peer.name, **style)
    axes.set_xlabel(latency_label(study.threads, "median and its interval"))
    axes.set_ylabel(metric.axis)
    axes.set_xlim(left=0)
    axes.margins(y=0.1)
    axes.legend(frameon=False, fontsize=8)
    return figure


def hypervolume_plot(study: StudyResults) -> Figure:
    """Plot the hypervolume against the number of measured trials."""
    figure, axes = new_figure(6.4, 3.2)
    counts = [count for count, _ in study.hypervolume]
    values = [value for _, value in study.hypervolume]
    axes.plot(counts, values, color=_BLUE, drawstyle="steps-post", marker="o", markersize=3)
    axes.set_xlabel("measured trials")
    axes.set_ylabel("hypervolume")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    return figure


def _points(
    axes: Any, entries: Sequence[NetworkFacts], scale: float, label: str, **style: Any
) -> None:
    """Draw points with their whiskers; a name from a user is no formula, even with dollar signs."""
    if not entries:
        return
    latencies = [entry.latency for entry in entries if entry.latency is not None]
    axes.errorbar(
        [one.median_ms for one in latencies],
        [scale * (entry.quality or 0.0) for entry in entries],
        xerr=[
            [max(0, one.median_ms - one.low_ms) for one in latencies],
            [max(0, one.high_ms - one.median_ms) for one in latencies],
        ],
        label=label.replace("$", r"\$"),
        elinewidth=0.8,
        capsize=2,
        **style,
    )
