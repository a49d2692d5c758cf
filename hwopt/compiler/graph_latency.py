"""The latency of graphs on a target, side by side, remembered by their structure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

from hwopt.compiler.latency import measure
from hwopt.compiler.machines import alone_on
from hwopt.files import read_json, write_json
from hwopt.targets.database import code_version
from hwopt.targets.kernel_shape import KernelShape
from hwopt.targets.latency_table import KernelCalls, LatencyTable

if TYPE_CHECKING:
    from hwopt.compiler.artifact import Artifact
    from hwopt.graph import Graph
    from hwopt.targets import Target
    from hwopt.targets.progress import Progress


#: Rounds of measuring: what else a machine does disturbs more than a thousand short calls. More
#: than the fewest as long as the standard error of a ratio is larger than the precision.
_FEWEST_ROUNDS, _MOST_ROUNDS = 5, 15
_PRECISION = 0.015


class Relative(NamedTuple):
    """A latency as a multiple of another one that was measured beside it.

    Attributes:
        ratio: the median of the rounds.
        low, high: nine medians of ten are expected between them, if all were measured again.
    """

    ratio: float
    low: float
    high: float


class GraphLatency:
    """Compiles graphs and measures them against the first one, alternating in one run.

    Latency depends on a graph's structure, not on its weights (but for how many values a codebook
    has), so a pair of structures is measured once; what is remembered is the ratio, since only that
    is comparable between runs.

    Args:
        target: the device.
        kernel_trials, seed, progress: of compiling; see ``hwopt.compile``.
        runs: measured calls of each graph, in five rounds of whose ratios the median counts; None
            takes as many as last about two seconds, from 100 to 1,000. Where the rounds disagree
            there are up to fifteen of them.
        memory: a JSON file to remember in; without it, as long as this object lives.
    """

    def __init__(
        self,
        target: Target,
        *,
        kernel_trials: int | None = None,
        seed: int = 0,
        runs: int | None = None,
        memory: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.target, self.runs, self.memory = target, runs, memory
        self._compile_options: dict[str, Any] = {
            "kernel_trials": kernel_trials,
            "seed": seed,
            "progress": progress,
        }
        self._known: dict[str, list[float]] = self._remembered()
        self._base: dict[str, Artifact] = {}

    def __call__(self, graphs: Sequence[Graph]) -> list[float]:
        """Return the median latencies in ms, the first one's times the ratios to it.

        Raises:
            HwoptError: if a graph cannot be compiled for the target.
        """
        first = self.base_ms(graphs[0])
        return [first, *(first * found.ratio for found in self.relative(graphs))]

    def base_ms(self, graph: Graph) -> float:
        """Return the median latency of a graph in ms, of when it was first measured by itself.

        Raises:
            HwoptError: if it cannot be compiled for the target.
        """
        key = self._key(graph, graph)
        if key not in self._known:
            self._measure(graph, {})
        return self._known[key][0]

    def relative(self, graphs: Sequence[Graph]) -> list[Relative]:
        """Return the latencies of all graphs but the first one, as multiples of the first one's.

        Raises:
            HwoptError: if a graph cannot be compiled for the target.
        """
        base, *others = graphs
        keys = [self._key(base, graph) for graph in others]
        new = {key: g for key, g in zip(keys, others, strict=True) if key not in self._known}
        if new:
            self._measure(base, new)
        return [Relative(*self._known[key]) for key in keys]

    def _measure(self, base: Graph, new: dict[str, Graph]) -> None:
        base_key = self._key(base, base)
        if base_key not in self._base:  # others are asked for beside the same one
            self._base = {base_key: self._compiled(base)}
        artifacts = self._base | {key: self._compiled(graph) for key, graph in new.items()}
        with alone_on(self.target):
            self._measure_artifacts(base_key, artifacts)

    def _measure_artifacts(self, base_key: str, artifacts: dict[str, Artifact]) -> None:
        """Measure in turns, and remember, while no other process measures for this target."""
        calls = {
            key: artifact.call(*artifact.random_inputs(0)) for key, artifact in artifacts.items()
        }
        runs = self.runs or _enough(calls[base_key])
        runs = math.ceil(runs / _FEWEST_ROUNDS)
        bases: list[float] = []
        ratios: dict[str, list[float]] = {key: [] for key in artifacts if key != base_key}
        while len(bases) < _FEWEST_ROUNDS or (
            len(bases) < _MOST_ROUNDS and not all(map(_precise, ratios.values()))
        ):
            latencies = measure(calls, threads=self.target.threads, runs=runs, warmup=1)
            bases.append(latencies[base_key].median_ms)
            for key, of in ratios.items():
                of.append(latencies[key].median_ms / bases[-1])
        # What another process measured meanwhile stays.
        self._known |= self._remembered()
        self._known.setdefault(base_key, _median_and_interval(bases))
        self._known.update({key: _median_and_interval(of) for key, of in ratios.items()})
        self._tabulate(base_key, artifacts)
        if self.memory is not None:
            write_json(self.memory, self._known)

    def _remembered(self) -> dict[str, list[float]]:
        if self.memory is None or not self.memory.exists():
            return {}
        known: dict[str, list[float]] = read_json(self.memory)
        return known

    def _tabulate(self, base_key: str, artifacts: dict[str, Artifact]) -> None:
        """Keep what was measured for later predictions."""
        if self.target.emulated:
            return  # its times are those of no device
        table = LatencyTable(self.target)
        first = self._known[base_key][0]
        for key, artifact in artifacts.items():
            kernels = artifact.manifest.kernels
            shapes = {one.name: KernelShape(one.kind, one.sizes) for one in kernels}
            timed = {shapes[k.name]: k.median_us for k in kernels if k.median_us is not None}
            table.add_kernels(timed)
            # Kernels with a single schedule are never timed by themselves: they are estimated.
            if timed and not artifact.has_ways:
                calls = [KernelCalls(shapes[k.name], k.calls) for k in kernels]
                table.add_network(calls, first if key == base_key else first * self._known[key][0])

    def _compiled(self, graph: Graph) -> Artifact:
        from hwopt.compiler.compile_model import compile

        # Only its time is wanted, of a network that may be untrained.
        return compile(graph, target=self.target, check=False, **self._compile_options)

    def _key(self, base: Graph, graph: Graph) -> str:
        parts = [
            self.target.fingerprint(),
            code_version(),
            str(self._compile_options["kernel_trials"]),
        ]
        parts += [str(self.runs), str(_MOST_ROUNDS), str(_PRECISION), "with intervals"]
        parts += [_structure(base), "" if graph is base else _structure(graph)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _precise(ratios: list[float]) -> bool:
    """Return whether the median of the rounds is known well enough."""
    return _standard_error(ratios) <= _PRECISION * median(ratios)


def _standard_error(values: list[float]) -> float:
    # Of a normal distribution, the median's standard error is 1.25 times that of the mean.
    return 1.25 * stdev(values) / math.sqrt(len(values))


def _median_and_interval(values: list[float]) -> list[float]:
    """Return the median, and what nine of ten medians are expected to lie between."""
    middle, margin = median(values), 1.645 * _standard_error(values)
    return [middle, middle - margin, middle + margin]


def _structure(graph: Graph) -> str:
    """Return everything that latency depends on."""
    values = [(name, len(graph.parameter(name).unique())) for name in sorted(graph.codebooks)]
    return f"{graph.to_text()}{values or ''}"


def _enough(call: Callable[[], object]) -> int:
    """Return how many calls take two seconds; a median of fewer moves with the machine's moods."""
    first = measure({"base": call}, threads=1, runs=20)["base"].median_ms
    return int(min(1000, max(100, 2000 / first)))
