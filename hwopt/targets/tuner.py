"""Choose a schedule for every kernel: from the database, a template, a search, or a default."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable

import tvm
from tvm import s_tir, tirx

from hwopt import targets
from hwopt.errors import HwoptError
from hwopt.targets import boards, templates
from hwopt.targets.database import KernelDatabase, Record, best, kernel_key
from hwopt.targets.measurer import Measurer
from hwopt.targets.progress import Progress
from hwopt.targets.target import Target
from hwopt.targets.templates import Config, Template

TEMPLATE_TRIALS = 16
SEARCH_TRIALS = 16
# The fastest candidates are timed again, longer: the first timing is short and noisy.
FINALISTS = 3
# How much faster another kernel for the same must be than the first, measured by itself.
WELL_AHEAD = 1.25
REPEATS, REPEAT_MS = 7, 2
FINAL_REPEATS, FINAL_REPEAT_MS = 15, 4


@dataclasses.dataclass(frozen=True)
class ChosenSchedule:
    """A scheduled kernel and how it was found.

    Attributes:
        func: The scheduled kernel; the unscheduled one where nothing can schedule it.
        road: ``template:NAME``, ``search`` (MetaSchedule) or ``fallback`` (a default).
        median_us: Measured time of one call in microseconds; None if it was not measured.
        candidates_measured: How many schedules were measured for it in this run.
        failures: Why candidates failed, in this run or before.
    """

    func: tirx.PrimFunc
    road: str
    median_us: float | None
    candidates_measured: int
    failures: tuple[str, ...] = ()


def choose(
    kernels: dict[str, tirx.PrimFunc],
    target: Target,
    *,
    kernel_trials: int | None,
    seed: int = 0,
    progress: Progress | None = None,
    database: KernelDatabase | None = None,
) -> dict[str, ChosenSchedule]:
    """Return a choice for each of the named kernels.

    Args:
        kernels: Unscheduled kernels by name.
        target: The device; its database is used and extended.
        kernel_trials: Most candidates to measure for one kernel, those already in the database
            counted; 0 measures none and takes the fastest known, or the model's first choice; None
            leaves the number to this module, which measures no emulated device.
        seed: For the search of kernels that no template covers.
        progress: Told how far the work is.
        database: Another database than the target's own.

    Raises:
        HwoptError: if ``kernel_trials`` is negative, or candidates can be neither timed nor
            recorded.
    """
    if kernel_trials is not None and kernel_trials < 0:
        raise HwoptError(f"kernel_trials must be 0 or more, not {kernel_trials}")
    if kernel_trials and (reason := targets.out_of_reach(target)):
        raise HwoptError(f"{reason}; or take kernel_trials=0")
    if kernel_trials is None and (target.runner == "none" or target.emulated):
        kernel_trials = 0
    database = database or KernelDatabase(target)
    choices: dict[str, ChosenSchedule] = {}
    with Measurer(target) as measurer:
        for name, func in kernels.items():

            def report(best: float | None, name: str = name) -> None:
                if progress:
                    progress(len(choices), len(kernels), name, best)

            report(None)
            template = templates.find(func, target)
            if template is None:
                count = SEARCH_TRIALS if kernel_trials is None else kernel_trials
                choices[name] = _search(func, name, target, database, count, seed)
            else:
                count = TEMPLATE_TRIALS if kernel_trials is None else kernel_trials
                tuning = _Tuning(func, name, template, target, database, measurer, report)
                choices[name] = tuning.run(count)
            report(choices[name].median_us)
    return choices


def fastest(
    kernels: dict[str, tirx.PrimFunc], choose: Callable[..., dict[str, ChosenSchedule]]
) -> str:
    """Return which of several kernels for the same takes least time.

    It is the first unless all are known and another is well ahead: timed by itself, a kernel finds
    its weights in the caches, and in a model the difference is smaller.

    Args:
        kernels: Unscheduled kernels by name.
        choose: :func:`choose` with everything but the kernels given.
    """
    medians = {name: choice.median_us for name, choice in choose(kernels).items()}
    first = next(iter(kernels))
    known = {name: median for name, median in medians.items() if median is not None}
    if known != medians:
        return first
    best = min(known, key=lambda name: known[name])
    return best if known[best] * WELL_AHEAD <= known[first] else first


def _search(
    func: tirx.PrimFunc,
    name: str,
    target: Target,
    database: KernelDatabase,
    kernel_trials: int,
    seed: int,
) -> ChosenSchedule:
    """Search for a kernel without a template; without a valid record, take the default."""
    from hwopt.targets.meta_schedule import search  # MetaSchedule is slow to import

    with _alone(database, target):
        found = search(func, name, target, database.folder, kernel_trials=kernel_trials, seed=seed)
    if found.func is not None:
        return ChosenSchedule(found.func, "search", found.median_us, found.measured)
    default = templates.default_schedule(func, target)
    return ChosenSchedule(default, "fallback", None, found.measured)


def _alone(database: KernelDatabase, target: Target) -> contextlib.AbstractContextManager[None]:
    """Keep other processes from measuring; give back the board that they would wait for."""
    if target.runner == "rpc":
        boards.release()
    return database.alone()


@dataclasses.dataclass
class _Tuning:
    """The choice among the candidates of a template for one kernel."""

    func: tirx.PrimFunc
    name: str
    template: Template
    target: Target
    database: KernelDatabase
    measurer: Measurer
    report: Callable[[float | None], None]

    def __post_init__(self) -> None:
        self.key = kernel_key(self.func)
        self.space = self.template.space(self.func, self.target)
        self.measured = 0

    def run(self, kernel_trials: int) -> ChosenSchedule:
        """Measure what the database lacks of the first ``kernel_trials`` candidates; take the best.

        Candidates that are known to fail are never taken.
        """
        candidates = self.space[:kernel_trials] if len(self.space) > 1 else []
        if self._missing(candidates) or (candidates and self._lack_finals()):
            with _alone(self.database, self.target):
                self._measure(self._missing(candidates), REPEATS, REPEAT_MS)
                if self.measured or self._lack_finals():
                    self._measure_finalists()
        records = self._records()
        fastest = best(records)
        failed = [record.config for record in records if record.error is not None]
        failures = tuple(record.error for record in records if record.error is not None)
        preferred = [fastest.config] if fastest else []
        for config in [*preferred, *self.space]:
            if config in failed:
                continue
            try:
                func = self.template.schedule(self.func, config, self.target)
            except s_tir.ScheduleError:
                continue  # costs this candidate, not the run
            median = fastest.median_us if fastest and config == fastest.config else None
            road = f"template:{self.template.name}"
            return ChosenSchedule(func, road, median, self.measured, failures)
        default = templates.default_schedule(self.func, self.target)
        return ChosenSchedule(default, "fallback", None, self.measured, failures)

    def _lack_finals(self) -> bool:
        """Return whether a process was killed after it had timed candidates shortly."""
        timed = [record for record in self._records() if record.fastest_us is not None]
        return bool(timed) and all(record.runs < FINAL_REPEATS for record in timed)

    def _missing(self, candidates: list[Config]) -> list[Config]:
        """Return the candidates of which nothing is known."""
        known = [record.config for record in self._records()]
        return [config for config in candidates if config not in known]

    def _records(self) -> list[Record]:
        """Return what is known of this space; those of an earlier version's do not count."""
        known = self.database.candidates(self.key, self.template.name)
        return [record for record in known if record.config in self.space]

    def _measure_finalists(self) -> None:
        timed = [record for record in self._records() if record.fastest_us is not None]
        timed.sort(key=lambda record: record.fastest_us or 0.0)
        finalists = [r.config for r in timed[:FINALISTS] if r.runs < FINAL_REPEATS]
        self._measure(finalists, FINAL_REPEATS, FINAL_REPEAT_MS)

    def _measure(self, configs: list[Config], repeats: int, repeat_ms: int) -> None:
        """Time candidates and keep the results, failures included."""
        first = repeats == REPEATS
        times = [r.fastest_us for r in self._records() if r.fastest_us is not None]
        answers = self.measurer.measure(
            tvm.ir.save_json(tvm.IRModule({"main": self.func})),
            self.template.name,
            configs,
            repeats=repeats,
            repeat_ms=repeat_ms,
            best_us=min(times, default=math.inf) if first else None,
        )
        for config, answer in answers:
            if "error" in answer and not first:
                continue  # it was timed before: that stays
            fastest = answer.get("fastest_us")
            self.database.add(
                Record(
                    kernel=self.key,
                    name=self.name,
                    template=self.template.name,
                    config=config,
                    median_us=answer.get("median_us"),
                    fastest_us=fastest,
                    runs=answer.get("runs", 0),
                    error=answer.get("error"),
                )
            )
            self.measured += first
            times += [fastest] if fastest is not None else []
            self.report(min(times, default=None))
