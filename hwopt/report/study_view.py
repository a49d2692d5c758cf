"""What the page of a study says and draws, from the content of ``study.json``."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from typing import Any

from hwopt.report.study_texts import (
    accuracy,
    changes,
    duration,
    interval,
    millions,
    points,
    ratio,
    span,
)

Study = dict[str, Any]
Trial = dict[str, Any]

#: The stages of a trial, in their order.
STAGES = ("passes", "train", "measure")
#: How many points below the baseline still count as as good: half a point.
NEAR = 0.005
_MAY_BE_MISSING = (
    *("accuracy", "latency", "ratio", "macs", "bytes", "memory_bytes", "parameters", "started"),
    *("seconds", "reason", "kernels", "artifact", "command", "test_accuracy"),
    *("repeats", "model", "route", "notes", "measuring_since"),
)


def complete(study: Study) -> Study:
    """Return a copy with every entry that a trial may lack, and None for what is no number.

    >>> trials = [{"number": 0, "state": "failed", "ratio": float("nan")}]
    >>> trial = complete({"trials": trials, "peers": [{"name": "a"}]})["trials"][0]
    >>> trial["ratio"], trial["kernels"]
    (None, None)
    """
    copy: Study = json.loads(json.dumps(study), parse_constant=lambda _: None)
    copy["trials"] = [dict.fromkeys(_MAY_BE_MISSING) | trial for trial in copy["trials"]]
    copy["peers"] = [{"accuracy": None, "latency": None} | peer for peer in copy["peers"]]
    return copy


def measured(study: Study) -> list[Trial]:
    """Return the trials that are points of the picture, from the fastest on."""
    points = [
        trial
        for trial in study["trials"]
        if trial["state"] == "measured" and None not in (trial["accuracy"], trial["latency"])
    ]
    return sorted(points, key=lambda trial: float(trial["latency"]["median_ms"]))


def front(study: Study) -> list[Trial]:
    """Return the trials of the Pareto front, from the fastest on."""
    by_number = {trial["number"]: trial for trial in measured(study)}
    return [by_number[number] for number in study["front"]]


def steps(study: Study) -> list[Trial]:
    """Return the trials that none is faster than and as accurate, from the fastest on.

    They are the front, but where more than accuracy and latency is traded.
    """
    found: list[Trial] = []
    for trial in front(study):
        if not found or trial["accuracy"] > found[-1]["accuracy"]:
            found.append(trial)
    return found


def best(study: Study) -> Trial | None:
    """Return the fastest of the front that is about as accurate as the baseline.

    Where none is, the most accurate one; None while the front is empty.
    """
    trials = front(study)
    as_good = [t for t in trials if t["accuracy"] >= study["baseline"]["accuracy"] - NEAR]
    return next(iter(as_good), None) or max(
        trials, key=lambda t: float(t["accuracy"]), default=None
    )


def facts(trial: Trial, baseline: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is known of a trial, a peer or the baseline, as names and texts."""
    known: list[tuple[str, str]] = []
    if trial["accuracy"] is not None:
        below = f" ({points(trial['accuracy'] - baseline['accuracy'])})"
        known.append(("accuracy", accuracy(trial["accuracy"]) + below * (trial is not baseline)))
    if trial.get("test_accuracy") is not None:
        known.append(("on test data", accuracy(trial["test_accuracy"])))
    if trial["latency"]:
        known.append(("latency", interval(trial["latency"])))
    if trial.get("ratio") is not None:
        known.append(("ratio to baseline", ratio(trial["ratio"])))
    if trial.get("macs") is not None:
        known.append(("MACs", millions(trial["macs"])))
    for entry, name in (("bytes", "size"), ("memory_bytes", "memory")):
        if trial.get(entry) is not None:
            known.append((name, f"{trial[entry]:,} bytes"))
    if trial.get("parameters") is not None:
        known.append(("parameters", f"{trial['parameters']:,}"))
    return known


def peers(study: Study) -> list[dict[str, str]]:
    """Return a row a peer: its figures, and the fastest of the front that is as accurate."""
    base = study["baseline"]["latency"]["median_ms"]
    rows = []
    for peer in study["peers"]:
        row = dict.fromkeys(("accuracy", "latency", "ratio", "beside"), "–") | {
            "name": peer["name"]
        }
        if peer["accuracy"] is not None:
            row["accuracy"] = accuracy(peer["accuracy"])
        if peer["latency"]:
            row["latency"] = interval(peer["latency"])
            row["ratio"] = ratio(peer["latency"]["median_ms"] / base)
        if peer["latency"] and peer["accuracy"] is not None:
            row["beside"] = _beside(front(study), peer)
        rows.append(row)
    return rows


def _beside(trials: list[Trial], peer: dict[str, Any]) -> str:
    for trial in trials:
        if trial["accuracy"] >= peer["accuracy"]:
            latency = trial["latency"]["median_ms"] / peer["latency"]["median_ms"]
            return f"trial {trial['number']}: {ratio(latency)}"
    return "none is as accurate"


def summary(study: Study) -> list[tuple[str, str, str]]:
    """Return the few numbers that the page begins with: name, value, what it means."""
    states = Counter(trial["state"] for trial in study["trials"])
    others = {"failed": "failed", "stopped": "stopped early", "running": "running"}
    others["repeated"] = "repeated an earlier one"
    rest = ", ".join(f"{states[state]} {text}" for state, text in others.items() if states[state])
    tiles = [("trials measured", str(states["measured"]), rest or "all of them")]
    if trial := best(study):
        figures = accuracy(trial["accuracy"])
        below = points(trial["accuracy"] - study["baseline"]["accuracy"])
        if trial["ratio"] is not None:
            text = f"of the baseline’s latency: trial {trial['number']}, {figures} ({below})"
            tiles.append(("best trial", ratio(trial["ratio"]), text))
        tiles.append(("on the front", str(len(study["front"])), "none is better in all"))
    if study["hypervolume"]:
        tiles.append(("hypervolume", f"{study['hypervolume'][-1][1]:.3f}", "1 is the most"))
    stages = [stage for one in times(study).values() for stage in one["stages"]]
    ends = [stage["at"] + stage["seconds"] for stage in stages]
    if ends:
        tiles.append(("time", duration(max(ends)), "from the first start to the last end"))
    return tiles


def times(study: Study) -> dict[int, dict[str, Any]]:
    """Return when each trial started, and its stages, in seconds after the first start.

    Between training and measuring a trial waits for those that are trained at the same time. What a
    study was killed in does not count.

    >>> trial = {"number": 7, "seconds": {"train": 20.0, "measure": 5.0},
    ...     "started": "2026-01-01T00:00:00+00:00", "measuring_since": "2026-01-01T00:01:00+00:00"}
    >>> times({"trials": [trial]})[7]["stages"][1]
    {'stage': 'measure', 'at': 60.0, 'seconds': 5.0}
    """
    started = [trial for trial in study["trials"] if trial["started"]]
    first = min((datetime.fromisoformat(trial["started"]) for trial in started), default=None)
    found: dict[int, dict[str, Any]] = {}
    for trial in started:
        seconds, at = trial["seconds"] or {}, _since(first, trial["started"])
        found[trial["number"]] = {"at": at, "stages": []}
        for stage in (stage for stage in STAGES if stage in seconds):
            if stage == "measure" and trial["measuring_since"]:
                at = _since(first, trial["measuring_since"])
            entry = {"stage": stage, "at": at, "seconds": seconds[stage]}
            found[trial["number"]]["stages"].append(entry)
            at += seconds[stage]
    return found


def _since(first: datetime | None, time: str) -> float:
    return (datetime.fromisoformat(time) - first).total_seconds() if first else 0.0


def drawn(study: Study) -> dict[str, Any]:
    """Return what the page's script draws: figures as numbers, and what it says as texts."""
    baseline = study["baseline"]
    times_of, chosen = times(study), best(study)
    return {
        "stages": STAGES,
        "baseline": _point(baseline, baseline) | {"name": "baseline"},
        "peers": [_point(peer, baseline) | {"name": peer["name"]} for peer in study["peers"]],
        "trials": [
            _point(trial, baseline)
            | {key: trial[key] for key in ("number", "state", "reason", "repeats")}
            | {key: trial[key] for key in ("kernels", "artifact", "command")}
            | {"changes": changes(trial), "notes": trial["notes"] or []}
            | times_of.get(trial["number"], {"at": None, "stages": []})
            for trial in study["trials"]
        ],
        "measured": [trial["number"] for trial in measured(study)],
        "front": study["front"],
        "steps": [trial["number"] for trial in steps(study)],
        "selected": chosen["number"] if chosen else None,
        "hypervolume": study["hypervolume"],
    }


def _point(one: dict[str, Any], baseline: dict[str, Any]) -> dict[str, Any]:
    """Return what is drawn of a trial, a peer or the baseline."""
    latency = one["latency"] and {
        "median_ms": one["latency"]["median_ms"],
        **dict(zip(("low_ms", "high_ms"), span(one["latency"]), strict=True)),
    }
    return {"accuracy": one["accuracy"], "latency": latency, "facts": facts(one, baseline)}
