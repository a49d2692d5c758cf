"""What is done with candidates of a study: trained, measured, finished."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hwopt.compiler.kernels_of import footprint_of
from hwopt.errors import HwoptError
from hwopt.graph import Graph
from hwopt.study.candidate import Candidate
from hwopt.study.files import candidate_file
from hwopt.study.relative_latencies import relative_latencies

if TYPE_CHECKING:
    from hwopt.study.setting import Setting


class Candidates:
    """The work on candidates in a study's folder; what is done already is not done again.

    Args:
        setting: of the study.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting, self.job, self.networks = setting, setting.job, setting.networks

    def train(self, name: str, epochs: int) -> dict[str, Any]:
        """Apply the passes of a candidate and train it.

        Returns:
            ``accuracy`` on the validation split, or ``over``: the limit that it is over for sure.
        """
        start = time.perf_counter()
        candidate = self._candidate(name)
        variant = candidate.variant
        base, key = self.networks.base(candidate)
        fine_tune = self.setting.recipe.fine_tune
        is_full = fine_tune is not None and epochs == fine_tune.epochs
        job = self.job if is_full else self.networks.fine_tuned_for(epochs)
        over = self.setting.known.over(
            variant, base, self.job.trained()[0], self.setting.search.limits
        )
        asked = time.perf_counter()
        if over:
            return {"over": over, "seconds": {"passes": asked - start}}
        if variant.route:
            self.networks.make_expert(job)
        shown = name if is_full else f"{name}-{epochs}"
        facts, graph, key = job.compression.variant(shown, variant, base, key)
        accuracy = self.networks.validated(shown, graph, key)
        if not math.isfinite(accuracy):
            raise HwoptError(f"its accuracy is {accuracy}")
        return {
            "accuracy": accuracy,
            "macs": graph.macs(),
            "parameters": graph.num_parameters(),
            "notes": facts["notes"],
            "seconds": {"passes": asked - start, "train": time.perf_counter() - asked},
        }

    def measure(self, names: Sequence[str], again: bool = False) -> dict[str, dict[str, Any]]:
        """Measure candidates side by side with the unchanged network; figures by name.

        Args:
            names: of the candidates.
            again: measure what was measured before, too.
        """
        latency = self.setting.measuring(None) if again else self.setting.latency
        start = time.perf_counter()
        base, _ = self.job.trained()
        graphs = {name: Graph.load(self.job.work.path("graphs", name)) for name in names}
        found = relative_latencies(latency, base, graphs, self.setting.samples.validation)
        seconds = time.perf_counter() - start
        ms = latency.base_ms(base)
        results: dict[str, dict[str, Any]] = {}
        for name, graph in graphs.items():
            footprint = footprint_of(graph, self.job.target)
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

    def finish(self, name: str) -> dict[str, Any]:
        """Compile a candidate of the front, check it, and test it on what nothing was chosen by."""
        candidate = self._candidate(name)
        base, key = self.networks.base(candidate)
        if candidate.variant.route:
            self.networks.make_expert(self.job)
        facts, _ = self.job.variant(name, candidate.variant, base, key)
        return {
            "test_accuracy": facts["accuracy"],
            "artifact_bytes": facts["bytes"],
            **{key: facts[key] for key in ("kernels", "check")},
        }

    def _candidate(self, name: str) -> Candidate:
        return Candidate.read(candidate_file(self.setting.folder, name))
