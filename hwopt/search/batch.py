"""Some candidates at once: trained side by side, then measured while nothing else runs."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hwopt.files import write_json
from hwopt.job.workspace import digest
from hwopt.search.candidate import Candidate
from hwopt.search.files import candidate_file
from hwopt.tasks import find

if TYPE_CHECKING:
    from optuna.trial import Trial

    from hwopt.search.plan import StudyPlan
    from hwopt.search.space import Space
    from hwopt.search.tasks import Tasks
    from hwopt.search.trials import Trials
    from hwopt.search.workers.processes import Outcome


class TrialBatch:
    """Takes trials from suggestion to result.

    All trainings end before anything is measured, and results are told in the order of the trials:
    so the next suggestions do not depend on which worker was faster.

    Args:
        plan: of the study.
        space: that the trials are points of.
        trials: all there are.
        tasks: train and measure.
        say: called with what is done now.
    """

    def __init__(
        self,
        plan: StudyPlan,
        space: Space,
        trials: Trials,
        tasks: Tasks,
        say: Callable[[str], object],
    ) -> None:
        self._plan, self._space, self._trials, self._tasks = plan, space, trials, tasks
        self._metric = find(plan.recipe.task).metric
        self._say = say

    def run(self, trials: list[Trial]) -> None:
        """Train and measure trials, and tell the study what became of them."""
        new: list[Trial] = []
        twins = []
        for trial in trials:
            name = self._name(trial)
            if any(name == other.user_attrs["name"] for other in new):
                twins.append(trial)
            elif not self._is_known(trial):
                new.append(trial)
        for epochs in [*self._plan.search.first_epochs, self._plan.full_epochs]:
            new = self._trained(new, epochs)
        self._measure(new)
        for trial in twins:
            self._is_known(trial)

    def _name(self, trial: Trial) -> str:
        """Name a trial by what it is, and write down what that is."""
        candidate = Candidate.at(trial.params, self._space, self._plan.search)
        document = candidate.model_dump(mode="json")
        name = f"c-{digest(document)}"
        trial.set_user_attr("name", name)
        trial.set_user_attr("passes", candidate.variant.passes)
        trial.set_user_attr("model", candidate.model)
        trial.set_user_attr("route", candidate.route)
        if "started" not in trial.user_attrs:
            trial.set_user_attr("started", _now())
        write_json(candidate_file(self._plan.folder, name), document)
        return name

    def _is_known(self, trial: Trial) -> bool:
        """Say whether the same candidate was measured before; end the trial with that if it was."""
        earlier = self._trials.earlier(trial)
        if earlier is not None:
            self._trials.repeat(trial, earlier)
        return earlier is not None

    def _trained(self, trials: list[Trial], epochs: int) -> list[Trial]:
        """Train candidates for so many epochs; return those that are worth going on with."""
        if not trials:
            return []
        self._say(f"training {_numbers(trials)} ({epochs} epochs)")
        outcomes = self._tasks.train([trial.user_attrs["name"] for trial in trials], epochs)
        found = zip(trials, outcomes, strict=True)
        return [trial for trial, outcome in found if self._goes_on(trial, epochs, outcome)]

    def _goes_on(self, trial: Trial, epochs: int, outcome: Outcome) -> bool:
        """Say whether a trained candidate goes on; end the trial of one that does not."""
        if outcome.reason:
            self._trials.fail(trial, outcome.reason)
            return False
        _write_down(trial, outcome.result)
        reason = outcome.result.get("over")
        if reason is None:
            quality = outcome.result["quality"]
            trial.set_user_attr(f"quality after {epochs}", quality)
            if epochs < self._plan.full_epochs:
                reason = self._hopeless(trial, epochs, quality)
        if reason is not None:
            self._trials.stop(trial, reason)
        return reason is None

    def _hopeless(self, trial: Trial, epochs: int, quality: float) -> str | None:
        """Say why a candidate is not worth training on after so many epochs, if it is not."""
        wanted, metric = self._plan.search.limits.quality, self._metric
        if wanted is not None:
            gained = self._trials.most_gained(epochs)
            if metric.gain(quality, wanted) + gained + self._trials.clearly < 0:
                return (
                    f"{quality:.4f} after {epochs} epochs, {wanted} asked for; no trial has gained "
                    f"more than {gained:.4f} from there"
                )
        better = self._trials.clearly_better(trial, epochs, quality)
        if better is not None:
            return f"{quality:.4f} after {epochs} epochs: trial {better} was better, and no larger"
        return None

    def _measure(self, trials: list[Trial]) -> None:
        if not trials:
            return
        self._say(f"measuring {_numbers(trials)}")
        for trial in trials:
            trial.set_user_attr("measuring_since", _now())
        found = self._measured(trials)
        for trial in trials:
            outcome = found[trial.number]
            if outcome.reason:
                self._trials.fail(trial, outcome.reason)
            else:
                self._tell(trial, outcome.result[trial.user_attrs["name"]])

    def _measured(self, trials: list[Trial]) -> dict[int, Outcome]:
        """Measure all side by side; where that fails, each by itself."""
        outcome = self._tasks.measure([trial.user_attrs["name"] for trial in trials])
        if outcome.reason and len(trials) > 1:
            return {key: one for trial in trials for key, one in self._measured([trial]).items()}
        return {trial.number: outcome for trial in trials}

    def _tell(self, trial: Trial, figures: dict[str, Any]) -> None:
        _write_down(trial, figures)
        quality, ratio = trial.user_attrs["quality"], figures["ratio"]
        if math.isfinite(quality) and math.isfinite(ratio):
            self._trials.tell(trial, figures)
        else:
            self._trials.fail(trial, f"quality {quality}, latency {ratio}")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat()


def _numbers(trials: list[Trial]) -> str:
    return ", ".join(str(trial.number) for trial in trials)


def _write_down(trial: Trial, facts: Mapping[str, Any]) -> None:
    """Keep what became known of a trial; seconds are added up."""
    for key, value in facts.items():
        if key == "seconds":
            before = trial.user_attrs.get("seconds", {})
            value = {
                part: before.get(part, 0.0) + value.get(part, 0.0) for part in {*before, *value}
            }
        trial.set_user_attr(key, value)
