"""From Optuna's trials and the study's folder to what is written of it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt.documents import TargetFacts
from hwopt.files import MANIFEST_FILE, read_json
from hwopt.job.facts import MetricFacts
from hwopt.passes import parse
from hwopt.search.files import RECIPE_FILE, candidate_file, finished_file
from hwopt.search.front import Point, hypervolume
from hwopt.search.results import BaselinePeer, Contribution, StudyResults, Trial
from hwopt.search.trials import front_of, within_limits
from hwopt.version import __version__

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hwopt.search.plan import StudyPlan
    from hwopt.search.prepared import PreparedStudy
    from hwopt.search.trials import Trials

#: By Optuna's names.
_STATES = {"COMPLETE": "measured", "PRUNED": "stopped", "FAIL": "failed"}


def study_results(
    plan: StudyPlan,
    prepared: PreparedStudy,
    trials: Trials,
    notes: Sequence[str] = (),
    peers: Sequence[BaselinePeer] = (),
) -> StudyResults:
    """Return what is known of a study.

    Args:
        plan: of the study.
        prepared: its network and space.
        trials: with what became of them.
        notes: beside those on the network.
        peers: the baseline in other runtimes.
    """
    measured, target = trials.measured(), plan.target
    return StudyResults(
        hwopt=__version__,
        name=plan.folder.resolve().name,
        # The address of a database may have a password.
        recipe=plan.recipe.model_dump(mode="json", exclude={"search": {"storage"}}),
        target=TargetFacts(name=target.name, cpu=target.cpu, isa=target.isa),
        threads=target.threads,
        data=prepared.data,
        metric=MetricFacts.of(prepared.metric),
        space=dict(prepared.space.dimensions),
        notes=(*prepared.notes, *notes),
        baseline=prepared.baseline,
        trials=tuple(_trial(trial, plan, prepared.key) for trial in trials.all()),
        on_front=tuple(front_of(measured)),
        hypervolume=tuple(
            (count, _hypervolume(measured[:count], prepared))
            for count in range(1, len(measured) + 1)
        ),
        contributions=tuple(contributions(measured)),
        peers=tuple(peers),
    )


def contributions(measured: Sequence[FrozenTrial]) -> list[Contribution]:
    """Return, for every pass, what trials with it have beside those of the whole study without it.

    Another model, and a route, count as passes.
    """
    names = {trial.number: _parts(trial.user_attrs) for trial in measured}
    found = []
    for name in sorted(set().union(*names.values())):
        with_it = [t for t in measured if name in names[t.number]]
        without = [t for t in measured if name not in names[t.number]]
        figures = {}
        if with_it and without:
            logs = [_mean([math.log(t.values[1]) for t in some]) for some in (with_it, without)]
            gains = [_mean([t.values[0] for t in some]) for some in (with_it, without)]
            figures["latency_ratio"] = math.exp(logs[0] - logs[1])
            figures["gain"] = gains[0] - gains[1]
        found.append(Contribution(name=name, trials=len(with_it), **figures))
    return found


def _parts(attributes: dict[str, Any]) -> set[str]:
    """Return the names of what was done to a candidate."""
    others = {f"{kind} {attributes[kind]}" for kind in ("model", "route") if attributes.get(kind)}
    return {one.name for one in parse(attributes["passes"])} | others


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _hypervolume(trials: Sequence[FrozenTrial], prepared: PreparedStudy) -> float:
    """Return the hypervolume as a share of the whole: the ideal, and nothing of all else."""
    worst, metric = prepared.worst, prepared.metric
    points = {t.number: Point.of(t.values) for t in trials if within_limits(t)}
    best = metric.gain(metric.ideal, 0.0)
    whole = (best - worst.gain) * worst.latency * math.prod(worst.others)
    return hypervolume(points, worst) / whole


def _trial(trial: FrozenTrial, plan: StudyPlan, key: str) -> Trial:
    attributes, state = trial.user_attrs, _STATES.get(trial.state.name, "running")
    facts = {key: attributes[key] for key in Trial.model_fields if key in attributes}
    facts |= {
        "number": trial.number,
        "state": "repeated" if "repeats" in attributes else state,
        "choices": dict(trial.params),
    }
    if facts["state"] == "measured":
        name = attributes["name"]
        facts["command"] = _command(name, plan)
        finished = read_finished(plan.folder, name, key)
        if finished is not None:
            facts |= {**finished, "artifact": f"artifacts/{name}"}
    return Trial.model_validate(facts)


def read_finished(folder: Path, name: str, key: str) -> dict[str, Any] | None:
    """Return what became of a candidate of the front; None if it is not compiled, or no more.

    Args:
        folder: of the study.
        name: of the candidate.
        key: of the study that it must be of.
    """
    file = finished_file(folder, name)
    if not file.exists() or not (folder / "artifacts" / name / MANIFEST_FILE).exists():
        return None
    finished = dict(read_json(file))
    return finished if finished.pop("study", None) == key else None


def _command(name: str, plan: StudyPlan) -> str:
    """Return what trains and measures a candidate again, from nothing."""
    words = ["hwopt", "search", str(plan.folder / RECIPE_FILE)]
    words += ["--evaluate", str(candidate_file(plan.folder, name)), "--fresh"]
    words += [word for plugin in plan.plugins for word in ("--plugin", plugin)]
    return shlex.join(words)
