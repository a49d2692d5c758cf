"""The trials of a study, kept by Optuna: suggested, resumed, ended."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from hwopt.errors import HwoptError, first_line
from hwopt.files import read_json, write_json
from hwopt.job.workspace import digest
from hwopt.search.candidate import ROUTE
from hwopt.search.files import IDENTITY_FILE, TRIALS_FILE
from hwopt.search.front import Point, front
from hwopt.search.samplers import make_sampler

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from hwopt.search.plan import StudyPlan
    from hwopt.search.prepared import PreparedStudy

MAXIMIZE, MINIMIZE = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
#: Trials in a row of which none was measured: they were there already, over a limit, or failed.
MOST_IN_VAIN = 50
_ENDED_WELL = (TrialState.COMPLETE, TrialState.PRUNED)


def open_storage(plan: StudyPlan) -> BaseStorage:
    """Return where Optuna keeps the trials of a study.

    Raises:
        HwoptError: if it is out of reach.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = plan.search.storage or f"sqlite:///{(plan.folder / TRIALS_FILE).resolve()}"
    try:
        return optuna.storages.get_storage(url)
    except Exception as error:  # each database has errors of its own
        raise HwoptError(
            f"the storage {_without_password(url)} cannot be opened: {first_line(error)}"
        ) from error


class Trials:
    """The trials of one study.

    A trial that was suggested, wholly or in part, and has no result is what a killed study left: it
    is taken up again before anything new is asked for.

    Args:
        plan: of the study.
        prepared: its network and space.
        storage: where they are kept.
        fresh: forget those that the storage has of this study.
    """

    def __init__(
        self, plan: StudyPlan, prepared: PreparedStudy, storage: BaseStorage, fresh: bool = False
    ) -> None:
        self._plan, self._prepared = plan, prepared
        where = digest(_identity(plan.folder)) if plan.search.storage else ""
        name = f"{plan.recipe.model}-{prepared.key}{where}"
        if fresh and name in optuna.get_all_study_names(storage):
            optuna.delete_study(study_name=name, storage=storage)
        self._optuna = optuna.create_study(
            study_name=name,
            storage=storage,
            directions=[MAXIMIZE, MINIMIZE, *(MINIMIZE for _ in plan.search.minimise)],
            load_if_exists=True,
        )
        #: Of the first trial that this run asks for.
        self._first = len(self._optuna.get_trials(deepcopy=False))

    # -- what there is ----------------------------------------------------------------------

    def all(self) -> list[FrozenTrial]:
        """Return the trials that were begun."""
        trials = self._optuna.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state != TrialState.WAITING]

    def measured(self) -> list[FrozenTrial]:
        """Return the trials that were measured, each candidate once."""
        trials = self._optuna.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [trial for trial in trials if "repeats" not in trial.user_attrs]

    def earlier(self, trial: Trial) -> FrozenTrial | None:
        """Return the trial that was the same candidate, by its name."""
        # One that failed is tried again: it may have been the machine.
        for other in self._optuna.get_trials(deepcopy=False, states=_ENDED_WELL):
            same = other.user_attrs.get("name") == trial.user_attrs["name"]
            if same and "repeats" not in other.user_attrs:
                return other
        return None

    def clearly_better(self, trial: Trial, epochs: int, quality: float) -> int | None:
        """Return a measured trial that was clearly better after so many epochs, and is no larger.

        Multiply-adds tell which of two networks is faster only where the same is done to them, in
        other widths; and nothing tells before which needs less memory.
        """
        search, metric = self._plan.search, self._prepared.metric
        if "memory_bytes" in search.minimise:
            return None
        sizes = ["macs", *(["parameters"] if "bytes" in search.minimise else [])]
        for other in filter(within_limits, self.measured()):
            then = other.user_attrs.get(f"quality after {epochs}")
            if (
                then is not None
                and metric.gain(then, quality) >= self.clearly
                and _but_widths(other.params) == _but_widths(trial.params)
                and all(other.user_attrs[size] <= trial.user_attrs[size] for size in sizes)
            ):
                return other.number
        return None

    @property
    def clearly(self) -> float:
        """How much better one must be than another one to be clearly better."""
        quality = self._prepared.baseline.quality
        return self._prepared.metric.tolerance(self._plan.search.clearly, quality)

    def most_gained(self, epochs: int) -> float:
        """Return the most quality that a measured trial gained after so many epochs."""
        then, metric = f"quality after {epochs}", self._prepared.metric
        gains = [
            metric.gain(trial.user_attrs["quality"], trial.user_attrs[then])
            for trial in self.measured()
            if then in trial.user_attrs
        ]
        return max(gains, default=math.inf)

    # -- what comes next --------------------------------------------------------------------

    def enqueue(self, points: Iterable[Mapping[str, Any]]) -> None:
        """Have points of the space tried before what a sampler suggests."""
        for point in points:
            self._optuna.enqueue_trial(dict(point), skip_if_exists=True)

    def next(self) -> list[Trial]:
        """Return the trials that a killed run left, else new ones for all workers, if any."""
        workers = self._plan.search.workers
        left = self._optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        begun = [self._suggested(Trial(self._optuna, trial._trial_id)) for trial in left[:workers]]
        if any("name" in trial.user_attrs for trial in left):
            return begun  # names are given when all of them have been asked for
        wanted = 0 if self._is_over() else self._plan.search.trials - len(self.measured())
        missing = min(workers, wanted) - len(begun)
        return begun + [self._suggested(self._optuna.ask()) for _ in range(missing)]

    def _suggested(self, trial: Trial) -> Trial:
        """Let the sampler choose what a trial has not yet; that depends on its number."""
        prepared, seed = self._prepared, 10_000 * self._plan.recipe.seed + trial.number
        self._optuna.sampler = make_sampler(
            self._plan.search.sampler, prepared.space, prepared.table, prepared.worst, seed
        )
        for name, values in prepared.space.dimensions.items():
            trial.suggest_categorical(name, values)
        return trial

    def _is_over(self) -> bool:
        search, measured = self._plan.search, self.measured()
        tried = {trial.user_attrs["name"] for trial in self._ended()}
        if len(measured) >= search.trials or len(tried) >= self._prepared.space.size:
            return True
        if self.in_vain():
            return True
        before = measured[: -search.patience] if search.patience else []
        return bool(before) and front_of(before) == front_of(measured)

    def in_vain(self) -> str | None:
        """Say why trials came to nothing, if so many in a row did that the study should end."""
        measured = self.measured()
        last = measured[-1].number if measured else -1
        vain = [trial for trial in self._ended() if trial.number > last]
        if len(vain) < MOST_IN_VAIN:
            return None
        reason = vain[-1].user_attrs.get("reason")
        return f"{MOST_IN_VAIN} trials in a row were not measured; the last one: {reason}"

    def _ended(self) -> list[FrozenTrial]:
        """Return the trials with a result; of earlier runs without what failed or repeated others.

        Something may have been mended since, or another sampler be at work.
        """
        return [
            trial
            for trial in self.all()
            if trial.state.is_finished()
            and (
                trial.number >= self._first
                or (trial.state in _ENDED_WELL and "repeats" not in trial.user_attrs)
            )
        ]

    # -- what becomes of them ---------------------------------------------------------------

    def repeat(self, trial: Trial, earlier: FrozenTrial) -> None:
        """End a trial with what an earlier one has."""
        trial.set_user_attr("repeats", earlier.number)
        trial.set_user_attr("reason", f"it is the same as trial {earlier.number}")
        for limit, over in earlier.constraints.items():
            trial.set_constraint(limit, over)
        state = None if earlier.values else TrialState.PRUNED
        self._optuna.tell(trial, earlier.values, state)

    def fail(self, trial: Trial, reason: str) -> None:
        """End a trial that broke."""
        trial.set_user_attr("reason", reason)
        self._optuna.tell(trial, state=TrialState.FAIL)

    def stop(self, trial: Trial, reason: str) -> None:
        """End a trial that is not worth going on with."""
        trial.set_user_attr("reason", reason)
        self._optuna.tell(trial, state=TrialState.PRUNED)

    def tell(self, trial: Trial, figures: Mapping[str, Any]) -> None:
        """End a trial that was measured; write down by how much it is over each limit."""
        limits, quality = self._plan.search.limits, trial.user_attrs["quality"]
        metric = self._prepared.metric
        of_limits = {
            "ms": figures["latency"]["median_ms"],
            "share": figures["ratio"],
            "memory_bytes": figures["memory_bytes"],
            "bytes": figures["bytes"],
        }
        for name, value in of_limits.items():
            limit = getattr(limits, name)
            if limit is not None:
                trial.set_constraint(name, value / limit - 1)
        if limits.quality is not None:
            over = -metric.gain(quality, limits.quality) / (abs(limits.quality) or 1.0)
            trial.set_constraint("quality", over)
        baseline = self._prepared.baseline
        allowed = self._plan.recipe.no_worse
        if allowed is not None:
            most = metric.tolerance(allowed, baseline.quality)
            trial.set_constraint("no_worse", trial.user_attrs["worse_by"] - most)
        others = [figures[name] / getattr(baseline, name) for name in self._plan.search.minimise]
        self._optuna.tell(trial, [metric.gain(quality, 0.0), figures["ratio"], *others])


def _identity(folder: Path) -> list[str]:
    """Return what no other folder has, in a database of many: not on other machines, no copy."""
    file = folder / IDENTITY_FILE
    if not file.exists():
        write_json(file, uuid.uuid4().hex)
    return [str(folder.resolve()), read_json(file)]


def within_limits(trial: FrozenTrial) -> bool:
    """Say whether a measured trial exceeds no limit."""
    return all(over <= 0 for over in trial.constraints.values())


def front_of(trials: Iterable[FrozenTrial]) -> list[int]:
    """Return the numbers of the trials that no other one beats, by latency."""
    return front({t.number: Point.of(t.values) for t in trials if within_limits(t)})


def _but_widths(choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return the choices that change more than how wide a network is."""
    return {
        name: value for name, value in choices.items() if isinstance(value, str) or name == ROUTE
    }


def _without_password(url: str) -> str:
    """Return the address of a database as it may be shown."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url
