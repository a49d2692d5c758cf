"""``results.json``: what became of every variant of a job, beside the baseline and the peers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hwopt.documents import Document, TargetFacts
from hwopt.errors import HwoptError, unknown_name
from hwopt.files import RESULTS_FILE
from hwopt.job.facts import Earlier, MetricFacts, VariantFacts
from hwopt.job.keys.limits import Limits
from hwopt.job.table import markdown_table, verdict
from hwopt.tasks import Metric

if TYPE_CHECKING:
    from hwopt.compiler import Artifact
    from hwopt.targets import Target

#: What an artefact's manifest keeps of its line in the table.
MEASURED = {
    "quality",
    "low",
    "high",
    "test_samples",
    "check",
    "latency",
    "ratio_to_baseline",
    "peers",
}
#: How much a variant may lose and still count as as good: half a point of a share, else half a
#: per cent.
NEAR = 0.005


def is_as_good(
    metric: Metric,
    quality: float | None,
    worse_by: float | None,
    beside: float | None,
    no_worse: float | None = None,
) -> bool:
    """Return whether a network is about as good as another one.

    Args:
        metric: of the quality.
        quality: of the network.
        worse_by: how much worse it is at the most, with 95 %.
        beside: the quality of the other one.
        no_worse: how much worse it may be with 95 %, as of ``Metric.tolerance``; None allows
            :data:`NEAR` of the figures as they are.

    >>> accuracy = Metric("accuracy")
    >>> is_as_good(accuracy, 0.921, 0.007, 0.925), is_as_good(accuracy, 0.919, 0.009, 0.925)
    (True, False)
    >>> is_as_good(accuracy, 0.921, 0.007, 0.925, no_worse=0.006)
    False
    """
    if quality is None or beside is None:
        return False
    if no_worse is None:
        return metric.gain(quality, beside) >= -metric.tolerance(NEAR, beside)
    return worse_by is not None and worse_by <= metric.tolerance(no_worse, beside)


class JobResults(Document):
    """What a job ends with; see :func:`hwopt.optimize`.

    Attributes:
        hwopt: the version that ran.
        recipe: what was done; it can be run again.
        target, threads: what was measured on.
        data: what was trained and tested on, in words.
        metric: what the quality of variants is.
        baseline: the variant that ratios refer to.
        notes: what the reader must be told.
        variants: by name.
        earlier: what the last job in the folder found, if that was something else.
    """

    version: ClassVar[int] = 4
    made_by: ClassVar[str] = "hwopt optimize"

    schema_version: int = 4
    hwopt: str
    recipe: dict[str, Any]
    target: TargetFacts
    threads: int
    data: str
    metric: MetricFacts
    baseline: str
    notes: tuple[str, ...] = ()
    variants: dict[str, VariantFacts]
    earlier: Earlier | None = None

    @classmethod
    def of(cls, folder: Path) -> JobResults:
        """Return the results in the folder of a job.

        Raises:
            HwoptError: if there are none, or they are damaged or of another version.
        """
        return cls.read(folder / RESULTS_FILE).in_folder(folder)

    def exceeded(self, name: str) -> list[str]:
        """Return what a variant takes beyond the recipe's limits, as text."""
        facts, limits = self.variants[name], Limits(**self.recipe.get("limits", {}))
        return list(limits.exceeded(facts.typical_ms, facts.memory_bytes, facts.kept_bytes))

    def is_good(self, name: str) -> bool:
        """Return whether a variant is as good as the recipe wants."""
        facts, beside = self.variants[name], self.variants[self.baseline].quality
        wanted = self.recipe.get("no_worse")
        return name == self.baseline or is_as_good(
            self.metric.metric, facts.quality, facts.worse_by, beside, wanted
        )

    @property
    def best(self) -> str | None:
        """The fastest variant that is as good as the recipe's ``no_worse`` wants.

        Without that, it is about as good as the baseline: half a point is lost. None if no such
        variant keeps the recipe's limits.
        """
        kept = [name for name in self.variants if self.is_good(name) and not self.exceeded(name)]
        return min(kept, key=lambda name: self.variants[name].ratio_to_baseline, default=None)

    def artifact(self, name: str | None, target: str | Target | None = None) -> Artifact:
        """Load the artefact of a variant.

        Args:
            name: of the variant; ``best`` may be None.
            target: what it runs on; see ``hwopt.load``.

        Raises:
            HwoptError: if there is no such variant, no best one, or its artefact is gone.
        """
        from hwopt.compiler import load

        if name is None:
            raise HwoptError(f"there is no best variant to load: {verdict(self)}")
        if name not in self.variants:
            raise unknown_name("variant", name, self.variants)
        return load(self.folder / "artifacts" / name, target=target)

    def table(self) -> str:
        """Return the table as Markdown."""
        return markdown_table(self)
