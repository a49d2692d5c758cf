"""What is done with candidates of a study: prepared for, trained, measured, finished."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt import __version__
from hwopt.compiler import load
from hwopt.compiler.graph_latency import GraphLatency
from hwopt.compiler.kernels_of import footprint_of
from hwopt.compiler.machines import alone_on
from hwopt.errors import HwoptError
from hwopt.files import read_json, sha256, write_json
from hwopt.graph import Graph
from hwopt.optimize import Variant, asked_peers
from hwopt.optimize.routed import expert_file
from hwopt.optimize.variant_steps import own_source
from hwopt.optimize.workspace import digest
from hwopt.search.profiling import MEMORY
from hwopt.search.space import Space
from hwopt.study.candidate import MODEL, ROUTE, Candidate
from hwopt.study.files import RECIPE_FILE, SPACE_FILE, candidate_file
from hwopt.study.in_peers import in_peers
from hwopt.study.knowledge import Knowledge
from hwopt.study.networks import BASE, Networks
from hwopt.study.recipe import make_search
from hwopt.study.relative_latencies import relative_latencies
from hwopt.targets.database import own_folder

if TYPE_CHECKING:
    from hwopt.compiler import Artifact


class Candidates:
    """The work on candidates in a study's folder; what is done already is not done again.

    Everything is chosen by the validation split; training takes the samples that are neither in it
    nor in the test set.

    Args:
        folder: of the study, with its recipe in it.
        threads: of training; None takes those of the target.
        plugins: files with passes.
    """

    def __init__(
        self, folder: Path, threads: int | None = None, plugins: Sequence[str] = ()
    ) -> None:
        self.folder, self.plugins = folder, plugins
        self.recipe, self.search = make_search(read_json(folder / RECIPE_FILE))
        self.networks = Networks(self.recipe, folder, threads)
        self.job, self.samples = self.networks.unchanged, self.networks.samples
        self.latency = self._latency(own_folder(self.job.target) / MEMORY)
        self.known = Knowledge(self.job, self.latency)

    def base(self) -> None:
        """Train the unchanged network."""
        self.job.trained()

    def prepare(self) -> None:
        """Train and compile the unchanged network; write the space and what is known of it."""
        if self.search.only:  # a wrong name is said before hours of training
            self._space(self.job.imported)
        base, key = self.job.trained()
        facts, _ = self.job.variant(BASE, Variant(), base, key)
        accuracy = self.networks.validated(BASE, base, key)
        artifact = load(self.job.work.path("artifacts", BASE), target=self.job.target)
        target = self.job.target
        measured = [key, target.fingerprint(), self.recipe.trials, self.recipe.runs]
        latency, _ = self.job.work.step(
            f"{BASE}.latency", measured, lambda: self._benchmark(artifact)
        )
        # Multiples of one latency are compared, so all are of the day on which it was measured.
        scale = self.latency.base_ms(base) / latency["median_ms"]
        latency |= {name: scale * ms for name, ms in latency.items() if name.endswith("_ms")}
        space = self._space(base)
        depends_on = [
            *(key, target.fingerprint(), self.search.space, space.dimensions),
            [sha256(Path(file)) for file in self.plugins],
            [own_source(type(one)) for one in space.passes],
            [expert_file(route) for route in self.search.routes],
        ]
        known: dict[str, Any] = {"dimensions": space.dimensions, "table": {}, "refused": []}
        if self.search.sampler == "guided":
            known, _ = self.job.work.step("space", depends_on, lambda: self._known(space, base))
        names = ("macs", "parameters", "kernels")
        footprint = footprint_of(base, target)
        document = {
            **known,
            # Samplers of Optuna's choose from what passes refuse, too: theirs is another space.
            "key": digest([__version__, *depends_on, known["dimensions"]]),
            "data": self.samples.name,
            "notes": self._notes() + known["refused"],
            "baseline": {
                **{name: facts[name] for name in names},
                "bytes": footprint.kept_bytes,
                "memory_bytes": footprint.activation_bytes,
                "accuracy": accuracy,
                "test_accuracy": facts["accuracy"],
                "latency": latency,
            },
        }
        write_json(self.folder / SPACE_FILE, document)

    def _benchmark(self, artifact: Artifact) -> dict[str, Any]:
        with alone_on(self.job.target):
            return artifact.benchmark(runs=self.recipe.runs).to_json()

    def _known(self, space: Space, base: Graph) -> dict[str, Any]:
        models = {
            name: [
                self.networks.of_model({name.removeprefix(MODEL): value}).imported
                for value in values[1:]
            ]
            for name, values in space.dimensions.items()
            if name.startswith(MODEL)
        }
        return self.known.of(space, base, models)

    def _notes(self) -> list[str]:
        """Return what the reader of the study must be told."""
        notes = [self.samples.note] if self.samples.note else []
        if self.job.target.emulated:
            notes.append("all latencies are an emulator's, and those of no device")
        return notes + asked_peers.missing(self.recipe, self.job.target)

    def in_peers(self) -> dict[str, Any]:
        """Measure the unchanged network in the recipe's peers; see :func:`in_peers`."""
        base, key = self.job.trained()
        self.job.variant(BASE, Variant(), base, key)
        target, work = self.job.target, self.job.work
        names = asked_peers.measurable(self.recipe, target)
        baseline = read_json(self.folder / SPACE_FILE)["baseline"]["latency"]

        def measured() -> dict[str, Any]:
            artifact = load(work.path("artifacts", BASE), target=target)
            folder = work.path("peers", BASE)
            return in_peers(
                names, artifact, target, self.samples, folder, self.recipe.runs, baseline
            )

        depends_on = [key, names, target.fingerprint(), self.recipe.runs, baseline]
        found, _ = work.step("peers", depends_on, measured)
        return dict(found)

    def train(self, name: str, epochs: int) -> dict[str, Any]:
        """Apply the passes of a candidate and train it.

        Returns:
            ``accuracy`` on the validation split, or ``over``: the limit that it is over for sure.
        """
        start = time.perf_counter()
        candidate = self._candidate(name)
        variant = candidate.variant
        base, key = self.networks.base(candidate)
        assert self.recipe.fine_tune is not None
        is_full = epochs == self.recipe.fine_tune.epochs
        job = self.job if is_full else self.networks.fine_tuned_for(epochs)
        over = self.known.over(variant, base, self.job.trained()[0], self.search.limits)
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
        latency = self._latency(None) if again else self.latency
        start = time.perf_counter()
        base, _ = self.job.trained()
        graphs = {name: Graph.load(self.job.work.path("graphs", name)) for name in names}
        found = relative_latencies(latency, base, graphs, self.samples.validation)
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

    def _latency(self, memory: Path | None) -> GraphLatency:
        recipe = self.recipe
        return GraphLatency(self.job.target, trials=recipe.trials, seed=recipe.seed, memory=memory)

    def _candidate(self, name: str) -> Candidate:
        return Candidate.read(candidate_file(self.folder, name))

    def _space(self, base: Graph) -> Space:
        return Space.of(
            base,
            self.search.space,
            self.job.compression.context(),
            levels=self.search.levels,
            only=self.search.only,
            others={
                ROUTE: tuple(range(len(self.search.routes) + 1)),
                **{
                    MODEL + name: tuple(dict.fromkeys((self.recipe.model_options[name], *values)))
                    for name, values in self.search.model_options.items()
                },
            },
        )
