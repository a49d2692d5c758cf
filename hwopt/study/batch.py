"""Some candidates at once: trained side by side, then measured while nothing else runs."""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, Trial, TrialState

from hwopt.files import write_json
from hwopt.optimize.workspace import digest
from hwopt.study.document import measured_trials, within_limits
from hwopt.study.files import candidate_file
from hwopt.study.processes import Processes

if TYPE_CHECKING:
    from hwopt.study.processes import Outcome
    from hwopt.study.study import Study


class Batch:
    """Takes trials from suggestion to result.

    All trainings end before anything is measured, and results are told in the order of the trials:
    so the next suggestions do not depend on which worker was faster.
    """

    def __init__(self, study: Study, trials: list[Trial]) -> None:
        self.study, self.trials = study, trials
        self.names: dict[int, str] = {}

    def run(self) -> None:
        """Train and measure the trials, and tell the study what became of them."""
        new, twins = [], []
        for trial in self.trials:
            known = set(self.names.values())
            self._name(trial)
            if self.names[trial.number] in known:
                twins.append(trial)
            elif not self._tell_known(trial):
                new.append(trial)
        for number in [*self.study.search.first_epochs, self._full_epochs()]:
            new = self._trained(new, number)
        self._measure(new)
        for trial in twins:
            self._tell_known(trial)

    def _full_epochs(self) -> int:
        fine_tune = self.study.recipe.fine_tune
        assert fine_tune is not None
        return fine_tune.epochs

    def _name(self, trial: Trial) -> None:
        """Name a trial by what it is, and write down what that is."""
        candidate = self.study.candidate(dict(trial.params))
        document = candidate.model_dump(mode="json")
        name = f"c-{digest(document)}"
        self.names[trial.number] = name
        trial.set_user_attr("name", name)
        trial.set_user_attr("passes", candidate.variant.passes)
        trial.set_user_attr("model", candidate.model)
        if "started" not in trial.user_attrs:
            trial.set_user_attr("started", datetime.datetime.now(datetime.UTC).isoformat())
        write_json(candidate_file(self.study.folder, name), document)

    def _tell_known(self, trial: Trial) -> bool:
        """Tell at once what was measured of the same candidate before, if it was."""
        earlier = self._earlier(trial, self.names[trial.number])
        if earlier is None:
            return False
        trial.set_user_attr("repeats", earlier.number)
        trial.set_user_attr("reason", f"it is the same as trial {earlier.number}")
        for limit, over in earlier.constraints.items():
            trial.set_constraint(limit, over)
        state = None if earlier.values else TrialState.PRUNED
        self.study.optuna.tell(trial, earlier.values, state)
        return True

    def _earlier(self, trial: Trial, name: str) -> FrozenTrial | None:
        """Return the trial that was the same candidate."""
        # One that failed is tried again: it may have been the machine.
        finished = (TrialState.COMPLETE, TrialState.PRUNED)
        for other in self.study.optuna.get_trials(deepcopy=False, states=finished):
            if other.user_attrs.get("name") == name and "repeats" not in other.user_attrs:
                return other
        return None

    def _trained(self, trials: list[Trial], epochs: int) -> list[Trial]:
        """Train candidates for so many epochs; return those that are worth going on with."""
        if not trials:
            return []
        names = ", ".join(str(trial.number) for trial in trials)
        self.study.document(f"training {names} ({epochs} epochs)")
        tasks = [
            self.study.task("train", name=self.names[trial.number], epochs=epochs)
            for trial in trials
        ]
        outcomes = self.study.workers.run(self.study.folder, tasks, self.study.search.trial_seconds)
        found = zip(trials, outcomes, strict=True)
        return [trial for trial, outcome in found if self._judged(trial, epochs, outcome)]

    def _judged(self, trial: Trial, epochs: int, outcome: Outcome) -> bool:
        """Say whether a trained candidate goes on; tell the study of one that does not."""
        if outcome.reason:
            return self._end(trial, TrialState.FAIL, outcome.reason)
        for key, value in outcome.result.items():
            if key == "seconds":
                value = _added(trial.user_attrs.get("seconds", {}), value)
            trial.set_user_attr(key, value)
        if "over" in outcome.result:
            return self._end(trial, TrialState.PRUNED, outcome.result["over"])
        accuracy = outcome.result["accuracy"]
        trial.set_user_attr(f"accuracy after {epochs}", accuracy)
        least = self.study.search.limits.accuracy
        if epochs == self._full_epochs():
            return True
        gained = self._most_gained(epochs)
        if least is not None and accuracy + gained + self.study.search.clearly < least:
            reason = (
                f"{accuracy:.4f} after {epochs} epochs, {least} asked for; no trial has gained "
                f"more than {gained:.4f} from there"
            )
            return self._end(trial, TrialState.PRUNED, reason)
        better = self._clearly_better(trial, epochs, accuracy)
        if better is not None:
            reason = (
                f"{accuracy:.4f} after {epochs} epochs: trial {better} was better, and is no larger"
            )
            return self._end(trial, TrialState.PRUNED, reason)
        return True

    def _clearly_better(self, trial: Trial, epochs: int, accuracy: float) -> int | None:
        """Return a measured trial that was clearly better then, with no more multiply-adds."""
        macs = trial.user_attrs["macs"]
        for other in filter(within_limits, measured_trials(self.study.optuna)):
            then = other.user_attrs.get(f"accuracy after {epochs}", -math.inf)
            clearly = then >= accuracy + self.study.search.clearly
            if clearly and other.user_attrs["macs"] <= macs:
                return other.number
        return None

    def _most_gained(self, epochs: int) -> float:
        """Return the most accuracy that a measured trial gained after so many epochs."""
        then = f"accuracy after {epochs}"
        measured = measured_trials(self.study.optuna)
        gains = [t.values[0] - t.user_attrs[then] for t in measured if then in t.user_attrs]
        return max(gains, default=math.inf)

    def _end(self, trial: Trial, state: TrialState, reason: str) -> bool:
        trial.set_user_attr("reason", reason)
        self.study.optuna.tell(trial, state=state)
        return False

    def _measure(self, trials: list[Trial]) -> None:
        if not trials:
            return
        self.study.document(f"measuring {', '.join(str(trial.number) for trial in trials)}")
        found = self._measured(trials)
        for trial in trials:
            outcome = found[trial.number]
            if outcome.reason:
                self._end(trial, TrialState.FAIL, outcome.reason)
            else:
                self._tell(trial, outcome.result[self.names[trial.number]])

    def _measured(self, trials: list[Trial]) -> dict[int, Outcome]:
        """Measure all side by side; where that fails, each by itself."""
        names = [self.names[trial.number] for trial in trials]
        task = self.study.task("measure", names=names)
        seconds = self.study.search.trial_seconds * len(trials)
        (outcome,) = Processes().run(self.study.folder, [task], seconds)
        if outcome.reason and len(trials) > 1:
            return {key: one for trial in trials for key, one in self._measured([trial]).items()}
        return {trial.number: outcome for trial in trials}

    def _tell(self, trial: Trial, figures: dict[str, Any]) -> None:
        """Tell the study what was measured, and which limits are exceeded."""
        for key, value in figures.items():
            if key == "seconds":
                value = _added(trial.user_attrs.get("seconds", {}), value)
            trial.set_user_attr(key, value)
        accuracy, ratio = trial.user_attrs["accuracy"], figures["ratio"]
        if not (math.isfinite(accuracy) and math.isfinite(ratio)):
            self._end(trial, TrialState.FAIL, f"accuracy {accuracy}, latency {ratio}")
            return
        limits = self.study.search.limits
        of_limits = {
            "ms": figures["latency"]["median_ms"],
            "share": ratio,
            "memory_bytes": figures["memory_bytes"],
            "bytes": figures["bytes"],
        }
        for name, value in of_limits.items():
            limit = getattr(limits, name)
            if limit is not None:
                trial.set_constraint(name, value / limit - 1)
        if limits.accuracy:
            trial.set_constraint("accuracy", 1 - accuracy / limits.accuracy)
        others = [figures[n] / self.study.baseline[n] for n in self.study.search.minimise]
        self.study.optuna.tell(trial, [accuracy, ratio, *others])


def _added(before: dict[str, float], more: dict[str, float]) -> dict[str, float]:
    return {key: before.get(key, 0.0) + more.get(key, 0.0) for key in {*before, *more}}
