"""``results.json``: what became of every variant of a job, beside the baseline and the peers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from hwopt.compiler.latency import Latency
from hwopt.compiler.manifest import KernelDescription
from hwopt.documents import Document, Figure, Part, TargetFacts
from hwopt.errors import HwoptError, unknown_name
from hwopt.files import RESULTS_FILE
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


class CheckFacts(Part):
    """What the comparison with torch found; see ``hwopt.job.check``."""

    samples: int
    same_answer: int | None = None
    max_difference: float
    turned: int | None = None
    tied: int | None = None


class PeerFacts(Part):
    """A variant in another runtime, measured in the same run.

    Attributes:
        latency: there.
        ratio: of the variant's own latency to that.
    """

    latency: Latency
    ratio: float


class StepFacts(Part):
    """What a variant was after one of its steps.

    Attributes:
        step: its name.
        quality: on the test set; None after the last step, where it is the variant's.
        macs: of the graph.
        kept_bytes: as of :class:`VariantFacts`.
        is_final: it has the structure of the variant already, and with that its latency.
    """

    step: str
    quality: Figure = None
    macs: int
    kept_bytes: int
    is_final: bool


class Difference(Part):
    """A test sample on which a variant is worse than the baseline.

    Attributes:
        sample: its place in the test set.
        before, after: what both say of it.
        truth: its target; None where that is no class or number.
        image: a file below ``differences``; None where it is no image or recording.
    """

    sample: int
    before: str
    after: str
    truth: str | None = None
    image: str | None = None


class VariantFacts(Part):
    """One compiled model.

    Attributes:
        passes: that made it, as text.
        notes: what they had to say.
        quality: on the test set, by the metric of the task; None where it says nothing ...
        low, high: ... between what it is with 95 % ...
        worse_by: ... and how much worse than the baseline at the most, with 95 %; negative where it
            is surely better.
        test_samples: of that set.
        easy: share of them that a router answers itself; None where there is none.
        macs, parameters: of the graph.
        zeros_masked: share of the trainable values that masks hold at zero.
        bytes: of the artefact on disk, with the graph that it was made of.
        kept_bytes: of weights and code, as a device keeps them; of the code as predicted.
        memory_bytes: the most that values inside the model take at one time.
        has_ways: whether inputs have ways to go, so that the mean latency counts.
        compile_seconds: with tuning.
        kernels: of the artefact.
        check: the comparison with torch.
        latency: of one call.
        ratio_to_baseline: of the latencies, below 1 is faster.
        peers: by name.
        steps: what it was after each of its steps; nothing of the baseline.
        differences: test samples on which it lost most beside the baseline.
    """

    passes: str
    notes: tuple[str, ...] = ()
    quality: Figure = None
    low: Figure = None
    high: Figure = None
    worse_by: Figure = None
    test_samples: int
    easy: Figure = None
    macs: int
    parameters: int
    zeros_masked: float = 0.0
    bytes: int
    kept_bytes: int
    memory_bytes: int
    has_ways: bool = False
    compile_seconds: float
    kernels: tuple[KernelDescription, ...]
    check: CheckFacts
    latency: Latency
    ratio_to_baseline: float
    peers: dict[str, PeerFacts] = Field(default_factory=dict)
    steps: tuple[StepFacts, ...] = ()
    differences: tuple[Difference, ...] = ()

    @property
    def typical_ms(self) -> float:
        """The median, or the mean where inputs have ways to go."""
        return self.latency.mean_ms if self.has_ways else self.latency.median_ms


class MetricFacts(Part):
    """What the quality is; see :class:`hwopt.tasks.Metric`."""

    name: str
    higher_is_better: bool
    is_share: bool
    ideal: float

    @classmethod
    def of(cls, metric: Metric) -> MetricFacts:
        """Return the facts of a metric."""
        return cls(**dataclasses.asdict(metric))

    @property
    def metric(self) -> Metric:
        """The metric itself."""
        return Metric(**self.model_dump())


class Earlier(Part):
    """What the last job in the same folder found.

    Attributes:
        recipe: of that.
        metric: of its qualities.
        variants: quality and latency in ms, by name.
    """

    recipe: dict[str, Any]
    metric: MetricFacts
    variants: dict[str, tuple[Figure, float]]


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
