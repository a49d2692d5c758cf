"""``study.json``: all that is known of a study, for its report and for those who pick from it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hwopt import __version__
from hwopt.files import read_json
from hwopt.passes import parse
from hwopt.search.front import Point, front, hypervolume
from hwopt.study.files import RECIPE_FILE, candidate_file, finished_file

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.trial import FrozenTrial

    from hwopt.study.study import Study

SCHEMA_VERSION = 1
Document = dict[str, Any]
#: By Optuna's names.
_STATES = {"COMPLETE": "measured", "PRUNED": "pruned", "FAIL": "failed"}
_FACTS = (
    "name",
    "model",
    "passes",
    "accuracy",
    "latency",
    "ratio",
    "macs",
    "bytes",
    "memory_bytes",
    "parameters",
    "started",
    "seconds",
    "reason",
    "repeats",
)


def measured_trials(study: OptunaStudy) -> list[FrozenTrial]:
    """Return the trials that were measured, each candidate once."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state.name == "COMPLETE" and "repeats" not in trial.user_attrs
    ]


def within_limits(trial: FrozenTrial) -> bool:
    """Say whether a measured trial exceeds no limit."""
    return all(over <= 0 for over in trial.constraints.values())


def front_of(trials: Sequence[FrozenTrial]) -> list[int]:
    """Return the numbers of the trials that no other one beats, by latency."""
    return front({t.number: Point.of(t.values) for t in trials if within_limits(t)})


def study_document(study: Study) -> Document:
    """Return the content of ``study.json``."""
    trials = study.optuna.get_trials(deepcopy=False)
    measured = measured_trials(study.optuna)
    recipe, target = study.recipe, study.target
    return {
        "schema_version": SCHEMA_VERSION,
        "hwopt": __version__,
        "name": study.folder.resolve().name,
        "recipe": recipe.model_dump(mode="json"),
        "search": study.search.model_dump(mode="json"),
        "target": {"name": target.name, "cpu": target.cpu, "isa": target.isa},
        "threads": target.threads,
        "data": study.data,
        "sampler": study.search.sampler,
        "seed": recipe.seed,
        "space": {name: list(values) for name, values in study.space.dimensions.items()},
        "notes": study.notes,
        "baseline": study.baseline,
        "trials": [_trial(trial, study) for trial in trials],
        "front": front_of(measured),
        "hypervolume": [
            [count, _hypervolume(measured[:count], study)] for count in range(1, len(measured) + 1)
        ],
        "contributions": contributions(measured),
        "peers": study.peers,
    }


def contributions(measured: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """Return, for every pass, what trials with it have beside those of the whole study without it.

    ``latency_ratio`` is of geometric means, ``accuracy_points`` the difference of means; both are
    None where all trials, or none, have the pass.
    """
    names = {t.number: {p.name for p in parse(t.user_attrs["passes"])} for t in measured}
    found = []
    for name in sorted(set().union(*names.values())):
        with_it = [t for t in measured if name in names[t.number]]
        without = [t for t in measured if name not in names[t.number]]
        figures: dict[str, Any] = {"latency_ratio": None, "accuracy_points": None}
        if with_it and without:
            logs = [_mean([math.log(t.values[1]) for t in some]) for some in (with_it, without)]
            points = [_mean([100 * t.values[0] for t in some]) for some in (with_it, without)]
            figures["latency_ratio"] = math.exp(logs[0] - logs[1])
            figures["accuracy_points"] = points[0] - points[1]
        found.append({"pass": name, "trials": len(with_it), **figures})
    return found


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _hypervolume(trials: Sequence[FrozenTrial], study: Study) -> float:
    """Return the hypervolume as a share of the whole: no error, and nothing of all else."""
    points = {t.number: Point.of(t.values) for t in trials if within_limits(t)}
    worst = study.worst
    whole = (1 - worst.accuracy) * worst.latency * math.prod(worst.others)
    return hypervolume(points, worst) / whole


def _trial(trial: FrozenTrial, study: Study) -> dict[str, Any]:
    attributes = trial.user_attrs
    facts = {key: attributes[key] for key in _FACTS if key in attributes}
    found = {
        "number": trial.number,
        "state": "pruned" if "repeats" in attributes else _STATES.get(trial.state.name, "running"),
        "choices": dict(trial.params),
        "passes": "",
        **facts,
    }
    if trial.state.name != "COMPLETE" or "repeats" in attributes:
        return found
    name = attributes["name"]
    found["command"] = _command(name, study)
    file = finished_file(study.folder, name)
    finished = read_json(file) if file.exists() else {}
    if finished.pop("study", None) == study.key:
        found |= finished
        found["artifact"] = f"artifacts/{name}"
    return found


def _command(name: str, study: Study) -> str:
    """Return what trains and measures a candidate again."""
    words = ["hwopt", "search", str(study.folder / RECIPE_FILE)]
    words += ["--evaluate", str(candidate_file(study.folder, name))]
    words += [word for plugin in study.plugins for word in ("--plugin", plugin)]
    return shlex.join(words)
