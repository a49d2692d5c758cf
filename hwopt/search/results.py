"""``study.json``: all that is known of a study, for its report and for those who pick from it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from hwopt.compiler.latency import Interval
from hwopt.compiler.manifest import KernelDescription
from hwopt.documents import Document, Figure, Part, TargetFacts
from hwopt.errors import HwoptError
from hwopt.job.facts import CheckFacts, MetricFacts
from hwopt.job.results import is_as_good
from hwopt.search.files import STUDY_FILE
from hwopt.search.table import markdown_front

if TYPE_CHECKING:
    from hwopt.compiler import Artifact
    from hwopt.targets import Target


class NetworkFacts(Part):
    """What is known of the baseline, of a trial, and of the baseline in another runtime.

    Attributes:
        quality: on the validation split, by the metric of the task ...
        low, high: ... and between what it is with 95 %.
        test_quality: on the test set, by which nothing was chosen.
        latency: measured beside the baseline.
        macs, parameters: of the graph.
        bytes: of weights and code.
        memory_bytes: of the values inside the model.
        kernels: of the artefact, if it is compiled.
    """

    quality: Figure = None
    low: Figure = None
    high: Figure = None
    test_quality: Figure = None
    latency: Interval | None = None
    macs: int | None = None
    parameters: int | None = None
    bytes: int | None = None
    memory_bytes: int | None = None
    kernels: tuple[KernelDescription, ...] = ()


class Baseline(NetworkFacts):
    """The untouched network, trained."""

    quality: float
    latency: Interval


class BaselinePeer(NetworkFacts):
    """The baseline in another runtime.

    Attributes:
        name: of the runtime.
        ratio: to the baseline's own latency.
    """

    name: str
    ratio: Figure = None


class Trial(NetworkFacts):
    """One candidate.

    Attributes:
        number: of the trial.
        state: what became of it.
        choices: the point of the space.
        name: of the candidate, in the study's folder.
        model: options of the model that are not the recipe's, as text.
        passes, route: what was done to it.
        ratio: to the baseline's latency.
        worse_by: how much worse than the baseline it is at the most, with 95 %, on the validation
            split.
        started, measuring_since: times.
        seconds: that its stages took.
        notes: of its passes.
        reason: why it has no result, or is over.
        repeats: the trial that was the same before.
        command: makes it again.
        artifact: its folder in that of the study, if it is compiled ...
        artifact_bytes: ... its size ...
        check: ... and its comparison with torch.
    """

    number: int
    state: Literal["measured", "stopped", "failed", "running", "repeated"]
    choices: dict[str, Any] = Field(default_factory=dict)
    name: str | None = None
    model: str = ""
    passes: str = ""
    route: str = ""
    ratio: Figure = None
    worse_by: Figure = None
    started: str | None = None
    measuring_since: str | None = None
    seconds: dict[str, float] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reason: str | None = None
    repeats: int | None = None
    command: str | None = None
    artifact: str | None = None
    artifact_bytes: int | None = None
    check: CheckFacts | None = None

    @property
    def is_point(self) -> bool:
        """Whether it is a point of the picture."""
        known = self.quality is not None and self.latency is not None
        return self.state == "measured" and known

    @property
    def median_ms(self) -> float:
        """Of a point: its median latency."""
        assert self.latency is not None
        return self.latency.median_ms


class Contribution(Part):
    """What trials with a pass, or with another model or a route, have beside those without.

    Attributes:
        name: of the pass.
        trials: that have it.
        latency_ratio: of geometric means ...
        gain: ... and by how much the mean quality is better; None where all trials, or none, have
            it.
    """

    name: str
    trials: int
    latency_ratio: Figure = None
    gain: Figure = None


class StudyResults(Document):
    """A study, while it runs and when it is done; see :func:`hwopt.search.run`.

    Attributes:
        hwopt: the version that ran.
        name: of its folder.
        recipe: what was searched; it can be run again.
        target, threads: what was measured on.
        data: what was trained on, in words.
        metric: what the quality is.
        space: values by the names of dimensions.
        notes: what the reader must be told.
        baseline: the untouched network.
        trials: in their order.
        on_front: numbers of those that no other one beats within the limits, from the fastest on.
        hypervolume: its share after so many measured trials.
        contributions: of each pass.
        peers: the baseline in other runtimes.
    """

    version: ClassVar[int] = 4
    made_by: ClassVar[str] = "hwopt search"

    schema_version: int = 4
    hwopt: str
    name: str
    recipe: dict[str, Any]
    target: TargetFacts
    threads: int
    data: str
    metric: MetricFacts
    space: dict[str, tuple[Any, ...]]
    notes: tuple[str, ...] = ()
    baseline: Baseline
    trials: tuple[Trial, ...]
    on_front: tuple[int, ...]
    hypervolume: tuple[tuple[int, float], ...]
    contributions: tuple[Contribution, ...] = ()
    peers: tuple[BaselinePeer, ...] = ()

    @classmethod
    def of(cls, folder: Path) -> StudyResults:
        """Return what is known of the study in a folder.

        Raises:
            HwoptError: if there is none, or it is damaged or of another version.
        """
        path = folder / STUDY_FILE
        if not path.exists():
            raise HwoptError(f"{folder} holds no study: it has no {STUDY_FILE}")
        return cls.read(path).in_folder(folder)

    @property
    def measured(self) -> list[Trial]:
        """The trials that are points of the picture, from the fastest on."""
        points = (trial for trial in self.trials if trial.is_point)
        return sorted(points, key=lambda trial: trial.median_ms)

    @property
    def front(self) -> list[Trial]:
        """The trials that no other one beats within the limits, from the fastest on."""
        return [self.trials[number] for number in self.on_front]

    @property
    def best(self) -> Trial | None:
        """The fastest of the front that is as good as the recipe's ``no_worse`` wants.

        Without that, it is about as good as the baseline: half a point is lost. Where none is, the
        one of the best quality; None while the front is empty.
        """
        trials, wanted = self.front, self.recipe.get("no_worse")
        as_good = [trial for trial in trials if self.is_as_good(trial, wanted)]
        by_quality = sorted(trials, key=lambda trial: -self.gain(trial))
        return next(iter([*as_good, *by_quality]), None)

    def is_as_good(self, trial: Trial, no_worse: float | None = None) -> bool:
        """Return whether a trial is as good as the baseline; see ``hwopt.job.results``."""
        metric, beside = self.metric.metric, self.baseline.quality
        return is_as_good(metric, trial.quality, trial.worse_by, beside, no_worse)

    def gain(self, one: NetworkFacts) -> float:
        """Return by how much a network is better than the baseline; minus infinity if unknown."""
        if one.quality is None:
            return -math.inf
        return self.metric.metric.gain(one.quality, self.baseline.quality)

    def artifact(self, number: int, target: str | Target | None = None) -> Artifact:
        """Load the artefact of a trial of the front.

        Args:
            number: of the trial.
            target: what it runs on; see ``hwopt.load``.

        Raises:
            HwoptError: if the trial is not compiled, or its artefact is gone.
        """
        from hwopt.compiler import load

        if not 0 <= number < len(self.trials) or self.trials[number].artifact is None:
            compiled = [trial.number for trial in self.trials if trial.artifact is not None]
            shown = ", ".join(map(str, compiled)) or "none"
            raise HwoptError(f"trial {number} has no artefact: compiled are {shown}")
        return load(self.folder / str(self.trials[number].artifact), target=target)

    def table(self) -> str:
        """Return the front as Markdown, the baseline below."""
        return markdown_front(self)
