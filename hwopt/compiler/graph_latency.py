"""The latency of graphs on a target, side by side, remembered by their structure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, stdev
from typing import TYPE_CHECKING, Any

from hwopt.compiler.latency import measure
from hwopt.compiler.machines import release_boards
from hwopt.files import read_json, write_json

if TYPE_CHECKING:
    from hwopt.compiler.artifact import Artifact
    from hwopt.graph import Graph
    from hwopt.targets import Target
    from hwopt.targets.progress import Progress


#: Rounds of measuring: what else a machine does disturbs more than a thousand short calls. More
#: than the fewest as long as the standard error of a ratio is larger than the precision.
_FEWEST_ROUNDS, _MOST_ROUNDS = 5, 15
_PRECISION = 0.015


class GraphLatency:
    """Compiles graphs and measures them against the first one, alternating in one run.

    Latency depends on a graph's structure, not on its weights (but for how many values a codebook
    has), so a pair of structures is measured once; what is remembered is the ratio, since only that
    is comparable between runs.

    Args:
        target: the device.
        trials, seed, progress: of compiling; see ``hwopt.compile``.
        runs: measured calls of each graph, in five rounds of whose ratios the median counts; None
            takes as many as last about two seconds, from 100 to 1,000. Where the rounds disagree
            there are up to fifteen of them.
        memory: a JSON file to remember in; without it, as long as this object lives.
    """

    def __init__(
        self,
        target: Target,
        *,
        trials: int | None = None,
        seed: int = 0,
        runs: int | None = None,
        memory: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.target, self.runs, self.memory = target, runs, memory
        self._compile_options: dict[str, Any] = {
            "trials": trials,
            "seed": seed,
            "progress": progress,
        }
        self._known: dict[str, float] = {}
        if memory is not None and memory.exists():
            self._known = read_json(memory)

    def __call__(self, graphs: Sequence[Graph]) -> list[float]:
        """Return the median latencies in ms, the first one's times the ratios to it.

        Raises:
            HwoptError: if a graph cannot be compiled for the target.
        """
        base, *others = graphs
        keys = [self._key(base, graph) for graph in (base, *others)]
        new = {key: g for key, g in zip(keys[1:], others, strict=True) if key not in self._known}
        if new or keys[0] not in self._known:
            self._measure(keys[0], base, new)
        first = self._known[keys[0]]
        return [first, *(first * self._known[key] for key in keys[1:])]

    def _measure(self, base_key: str, base: Graph, new: dict[str, Graph]) -> None:
        artifacts = {key: self._compiled(graph) for key, graph in ((base_key, base), *new.items())}
        calls = {
            key: artifact.call(*artifact.random_inputs(0)) for key, artifact in artifacts.items()
        }
        runs = self.runs or _enough(calls[base_key])
        runs = math.ceil(runs / _FEWEST_ROUNDS)
        bases: list[float] = []
        ratios: dict[str, list[float]] = {key: [] for key in new}
        while len(bases) < _FEWEST_ROUNDS or (
            len(bases) < _MOST_ROUNDS and not all(map(_precise, ratios.values()))
        ):
            latencies = measure(calls, threads=self.target.threads, runs=runs, warmup=1)
            bases.append(latencies[base_key].median_ms)
            for key, of in ratios.items():
                of.append(latencies[key].median_ms / bases[-1])
        release_boards(self.target)
        self._known.setdefault(base_key, median(bases))
        self._known.update({key: median(of) for key, of in ratios.items()})
        if self.memory is not None:
            write_json(self.memory, self._known)

    def _compiled(self, graph: Graph) -> Artifact:
        from hwopt.compiler.compile_model import compile

        return compile(graph, target=self.target, **self._compile_options)

    def _key(self, base: Graph, graph: Graph) -> str:
        parts = [self.target.fingerprint(), str(self._compile_options["trials"])]
        parts += [str(self.runs), str(_MOST_ROUNDS), str(_PRECISION)]
        parts += [_structure(base), "" if graph is base else _structure(graph)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _precise(ratios: list[float]) -> bool:
    """Return whether the median of the rounds is known well enough."""
    # Of a normal distribution, the median's standard error is 1.25 times that of the mean.
    error = 1.25 * stdev(ratios) / math.sqrt(len(ratios))
    return error <= _PRECISION * median(ratios)


def _structure(graph: Graph) -> str:
    """Return everything that latency depends on."""
    values = [(name, len(graph.parameter(name).unique())) for name in sorted(graph.codebooks)]
    return f"{graph.to_text()}{values or ''}"


def _enough(call: Callable[[], object]) -> int:
    """Return how many calls take two seconds; a median of fewer moves with the machine's moods."""
    first = measure({"base": call}, threads=1, runs=20)["base"].median_ms
    return int(min(1000, max(100, 2000 / first)))
