"""What is known of the variants of a job, as its results hold it."""

from __future__ import annotations

import dataclasses
from typing import Any

from pydantic import Field

from hwopt.compiler.latency import Latency
from hwopt.compiler.manifest import KernelDescription
from hwopt.documents import Figure, Part
from hwopt.tasks import Metric


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
