"""Tasks that are done with candidates of a study: trained, measured, finished.

What a study's folder has of them already is not done again.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hwopt.compiler.kernels_of import footprint_of
from hwopt.errors import HwoptError
from hwopt.search.candidate import Candidate
from hwopt.search.files import candidate_file
from hwopt.search.relative_latencies import relative_latencies

if TYPE_CHECKING:
    from hwopt.search.setting import Setting


@dataclass(frozen=True)
class TrainCandidate:
    """Apply the passes of a candidate, and train it.

    Attributes:
        name: of the candidate.
        epochs: of its training.
    """

    name: str
    epochs: int

    def run(self, setting: Setting) -> dict[str, Any]:
        """Return ``quality`` on the validation split, or ``over``: what it exceeds for sure."""
        start = time.perf_counter()
        candidate, networks = _candidate(setting, self.name), setting.networks
        variant = candidate.variant
        base = networks.base(candidate)
        fine_tune = setting.recipe.fine_tune
        is_full = fine_tune is not None and self.epochs == fine_tune.epochs
        job = setting.job if is_full else networks.fine_tuned_for(self.epochs)
        baseline, limits = setting.job.trained().graph, setting.search.limits
        over = setting.known.over(variant, base.graph, baseline, limits)
        asked = time.perf_counter()
        if over:
            return {"over": over, "seconds": {"passes": asked - start}}
        if variant.route:
            networks.make_expert(job)
        shown = self.name if is_full else f"{self.name}-{self.epochs}"
        network, notes = job.compressed(shown, variant, base)
        judged = networks.validated(shown, network)
        if not math.isfinite(judged["quality"]):
            raise HwoptError(f"its quality is {judged['quality']}")
        return {
            **judged,
            "macs": network.graph.macs(),
            "parameters": network.graph.num_parameters(),
            "notes": notes,
            "seconds": {"passes": asked - start, "train": time.perf_counter() - asked},
        }


@dataclass(frozen=True)
class MeasureCandidates:
    """Measure candidates side by side with the baseline.

    Attributes:
        names: of the candidates.
        again: measure what was measured before, too.
    """

    names: tuple[str, ...]
    again: bool = False

    def run(self, setting: Setting) -> dict[str, dict[str, Any]]:
        """Return figures by name."""
        latency = setting.measuring(None) if self.again else setting.latency
        job, start = setting.job, time.perf_counter()
        base = job.trained().graph
        graphs = {name: job.kept(name) for name in self.names}
        found = relative_latencies(latency, base, graphs, setting.samples.validation)
        seconds = time.perf_counter() - start
        ms = latency.base_ms(base)
        results: dict[str, dict[str, Any]] = {}
        for name, graph in graphs.items():
            footprint = footprint_of(graph, job.target)
            ratio, low, high = found[name]
            results[name] = {
                "ratio": ratio,
                # No percentiles of calls: nine of ten medians are expected in between.
                "latency": {"median_ms": ms * ratio, "low_ms": ms * low, "high_ms": ms * high},
                "memory_bytes": footprint.activation_bytes,
                "bytes": footprint.kept_bytes,
                "seconds": {"measure": seconds},
            }
        return results


@dataclass(frozen=True)
class FinishCandidate:
    """Compile a candidate of the front, check it, and test it on what nothing was chosen by.

    Attributes:
        name: of the candidate.
    """

    name: str

    def run(self, setting: Setting) -> dict[str, Any]:
        """Return its quality on the test set, its size and its kernels."""
        candidate = _candidate(setting, self.name)
        base = setting.networks.base(candidate)
        if candidate.variant.route:
            setting.networks.make_expert(setting.job)
        facts, _ = setting.job.variant(self.name, candidate.variant, base)
        return {
            "test_quality": facts["quality"],
            "artifact_bytes": facts["bytes"],
            **{key: facts[key] for key in ("kernels", "check")},
        }


def _candidate(setting: Setting, name: str) -> Candidate:
    return Candidate.read(candidate_file(setting.folder, name))
