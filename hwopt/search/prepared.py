"""What is known of a study's network before its first trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwopt.allocation.allocate import Width
from hwopt.files import read_json
from hwopt.job.workspace import digest
from hwopt.passes import parse
from hwopt.search.files import SPACE_FILE
from hwopt.search.front import Point
from hwopt.search.results import Baseline
from hwopt.search.space import Space
from hwopt.tasks import Metric, find

if TYPE_CHECKING:
    from hwopt.search.plan import StudyPlan

#: Lost quality (``Metric.tolerance``) from which on a candidate is worth nothing to the front.
WORST_LOSS = 0.10
#: What of a search may change without its trials becoming others'.
_MAY_CHANGE = {
    "trials",
    "patience",
    "workers",
    "trial_seconds",
    "sampler",
    "storage",
    "warm_start",
}


@dataclass(frozen=True)
class PreparedStudy:
    """What :class:`hwopt.search.baseline_tasks.PrepareSpace` has found.

    Attributes:
        metric: of the quality.
        baseline: the figures of the baseline.
        data: what it was trained on, in words.
        notes: what the reader of the study must be told.
        space: what is chosen from.
        table: what every choice does by itself, if the sampler asks for that.
        key: what the trials depend on.
        worst: the corner of the hypervolume: a limit where there is one; else the unchanged
            network's latency, and :data:`WORST_LOSS` of its quality.
    """

    metric: Metric
    baseline: Baseline
    data: str
    notes: tuple[str, ...]
    space: Space
    table: dict[str, list[Width]]
    key: str
    worst: Point

    @classmethod
    def read(cls, plan: StudyPlan) -> PreparedStudy:
        """Return what lies in the folder of a study."""
        found = read_json(plan.folder / SPACE_FILE)
        passes = tuple(one for text in plan.search.space for one in parse(text))
        dimensions = {name: tuple(values) for name, values in found["dimensions"].items()}
        table = {name: [Width(**one) for one in widths] for name, widths in found["table"].items()}
        baseline = Baseline.model_validate(found["baseline"])
        search = plan.search.model_dump(mode="json", exclude=_MAY_CHANGE)
        recipe = plan.recipe.model_dump(mode="json", exclude={"peers", "search"})
        metric = find(plan.recipe.task).metric
        return cls(
            metric=metric,
            baseline=baseline,
            data=found["data"],
            notes=tuple(found["notes"]),
            space=Space(passes, dimensions),
            table=table,
            key=digest([found["key"], recipe, search]),
            worst=_worst(plan, baseline, metric),
        )


def _worst(plan: StudyPlan, baseline: Baseline, metric: Metric) -> Point:
    limits = plan.search.limits
    shares = [limits.share] if limits.share else []
    shares += [limits.ms / baseline.latency.median_ms] if limits.ms else []
    others = []
    for name in plan.search.minimise:
        limit = getattr(limits, name)
        others.append(limit / getattr(baseline, name) if limit else 1.0)
    worst = limits.quality
    if worst is None:
        worst = metric.worse(baseline.quality, metric.tolerance(WORST_LOSS, baseline.quality))
    return Point(metric.gain(worst, 0.0), min(shares, default=1.0), tuple(others))
