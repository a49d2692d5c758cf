"""What the page of a study says and draws."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hwopt.report.study_texts import duration, interval, millions, ratio
from hwopt.search.table import changes

if TYPE_CHECKING:
    from hwopt.search.results import BaselinePeer, NetworkFacts, StudyResults, Trial

#: The stages of a trial, in their order.
STAGES = ("passes", "train", "measure")


def steps(study: StudyResults) -> list[Trial]:
    """Return the trials that none is faster than and as good, from the fastest on.

    They are the front, but where more than quality and latency is traded.
    """
    found: list[Trial] = []
    for trial in study.front:
        if not found or study.gain(trial) > study.gain(found[-1]):
            found.append(trial)
    return found


def facts(one: NetworkFacts, study: StudyResults) -> list[tuple[str, str]]:
    """Return what is known of a trial, a peer or the baseline, as names and texts."""
    known: list[tuple[str, str]] = []
    metric, baseline = study.metric.metric, study.baseline
    if one.quality is not None:
        below = f" ({metric.show_difference(one.quality, baseline.quality)})"
        known.append((metric.name, metric.show(one.quality) + below * (one is not baseline)))
    if one.test_quality is not None:
        known.append(("on test data", metric.show(one.test_quality)))
    if one.latency is not None:
        known.append(("latency", interval(one.latency)))
    share = getattr(one, "ratio", None)
    if share is not None:
        known.append(("ratio to baseline", ratio(share)))
    if one.macs is not None:
        known.append(("MACs", millions(one.macs)))
    for value, name in ((one.bytes, "size"), (one.memory_bytes, "memory")):
        if value is not None:
            known.append((name, f"{value:,} bytes"))
    if one.parameters is not None:
        known.append(("parameters", f"{one.parameters:,}"))
    return known


def peers(study: StudyResults) -> list[dict[str, str]]:
    """Return a row a peer: its figures, and the fastest of the front that is as good."""
    base_ms = study.baseline.latency.median_ms
    rows = []
    for peer in study.peers:
        row = dict.fromkeys(("quality", "latency", "ratio", "beside"), "–") | {"name": peer.name}
        if peer.quality is not None:
            row["quality"] = study.metric.metric.show(peer.quality)
        if peer.latency is not None:
            row["latency"] = interval(peer.latency)
            row["ratio"] = ratio(peer.latency.median_ms / base_ms)
        row["beside"] = _beside(study, peer)
        rows.append(row)
    return rows


def _beside(study: StudyResults, peer: BaselinePeer) -> str:
    if peer.latency is None or peer.quality is None:
        return "–"
    for trial in study.front:
        if study.gain(trial) >= study.gain(peer):
            return f"trial {trial.number}: {ratio(trial.median_ms / peer.latency.median_ms)}"
    return "none is as good"


def summary(study: StudyResults) -> list[tuple[str, str, str]]:
    """Return the few numbers that the page begins with: name, value, what it means."""
    states: Counter[str] = Counter(trial.state for trial in study.trials)
    others = {"failed": "failed", "stopped": "stopped early", "running": "running"}
    others["repeated"] = "repeated an earlier one"
    rest = ", ".join(f"{states[state]} {text}" for state, text in others.items() if states[state])
    tiles = [("trials measured", str(states["measured"]), rest or "all of them")]
    trial = study.best
    if trial is not None and trial.quality is not None:
        metric = study.metric.metric
        below = metric.show_difference(trial.quality, study.baseline.quality)
        if trial.ratio is not None:
            figures = f"{metric.show(trial.quality)} ({below})"
            text = f"of the baseline’s latency: trial {trial.number}, {figures}"
            tiles.append(("best trial", ratio(trial.ratio), text))
        tiles.append(("on the front", str(len(study.on_front)), "none is better in all"))
    if study.hypervolume:
        tiles.append(("hypervolume", f"{study.hypervolume[-1][1]:.3f}", "1 is the most"))
    stages = [stage for one in times(study.trials).values() for stage in one["stages"]]
    ends = [stage["at"] + stage["seconds"] for stage in stages]
    if ends:
        tiles.append(("time", duration(max(ends)), "from the first start to the last end"))
    return tiles


def times(trials: Sequence[Trial]) -> dict[int, dict[str, Any]]:
    """Return when each trial started, and its stages, in seconds after the first start.

    Between training and measuring a trial waits for those that are trained at the same time. What a
    study was killed in does not count.

    >>> from hwopt.search.results import Trial
    >>> trial = Trial(number=7, state="measured", seconds={"train": 20.0, "measure": 5.0},
    ...     started="2026-01-01T00:00:00+00:00", measuring_since="2026-01-01T00:01:00+00:00")
    >>> times([trial])[7]["stages"][1]
    {'stage': 'measure', 'at': 60.0, 'seconds': 5.0}
    """
    started = {
        trial.number: datetime.fromisoformat(trial.started) for trial in trials if trial.started
    }
    first = min(started.values(), default=None)
    found: dict[int, dict[str, Any]] = {}
    for trial in trials:
        if first is None or trial.number not in started:
            continue
        at = (started[trial.number] - first).total_seconds()
        found[trial.number] = {"at": at, "stages": []}
        for stage in (stage for stage in STAGES if stage in trial.seconds):
            if stage == "measure" and trial.measuring_since:
                since = datetime.fromisoformat(trial.measuring_since)
                at = (since - first).total_seconds()
            entry = {"stage": stage, "at": at, "seconds": trial.seconds[stage]}
            found[trial.number]["stages"].append(entry)
            at += trial.seconds[stage]
    return found


def drawn(study: StudyResults) -> dict[str, Any]:
    """Return what the page's script draws: figures as numbers, and what it says as texts."""
    chosen, metric = study.best, study.metric.metric
    times_of = times(study.trials)
    return {
        "stages": STAGES,
        "metric": {
            "axis": metric.axis,
            "name": metric.name,
            "scale": metric.scale,
            # A hundredth is a point of a share, else one per cent of the baseline's.
            "hundredth": metric.tolerance(0.01, study.baseline.quality),
        },
        "baseline": _point(study.baseline, study) | {"name": "baseline"},
        "peers": [_point(peer, study) | {"name": peer.name} for peer in study.peers],
        "trials": [
            _point(trial, study)
            | {"number": trial.number, "state": trial.state, "reason": trial.reason}
            | {"repeats": trial.repeats, "artifact": trial.artifact, "command": trial.command}
            | {"kernels": [kernel.model_dump() for kernel in trial.kernels] or None}
            | {"changes": changes(trial), "notes": trial.notes}
            | times_of.get(trial.number, {"at": None, "stages": []})
            for trial in study.trials
        ],
        "measured": [trial.number for trial in study.measured],
        "front": study.on_front,
        "steps": [trial.number for trial in steps(study)],
        "selected": chosen.number if chosen else None,
        "hypervolume": study.hypervolume,
    }


def _point(one: NetworkFacts, study: StudyResults) -> dict[str, Any]:
    """Return what is drawn of a trial, a peer or the baseline."""
    latency = one.latency and dataclasses.asdict(one.latency)
    gain = None if one.quality is None else study.gain(one)
    return {"quality": one.quality, "gain": gain, "latency": latency, "facts": facts(one, study)}
