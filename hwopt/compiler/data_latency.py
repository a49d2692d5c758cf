"""Latency over real inputs, of which some take a longer way than others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.compiler.latency import Latency, distribution, times_ms
from hwopt.errors import HwoptError, check_same_names

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from hwopt.compiler.artifact import Artifact


@dataclass(frozen=True)
class DataLatency:
    """The distribution of the wall time of calls with one batch after the other of a data set.

    Attributes:
        p99_ms: the 99th percentile of all calls, in milliseconds.
        all: of all calls; so ``all.runs`` is their number.
        easy, hard: of the calls in which no row was hard, and of the others; None where there was
            none.
        coverage: the share of rows that were easy; 1 for a model with one way only.
    """

    p99_ms: float
    all: Latency
    easy: Latency | None
    hard: Latency | None
    coverage: float

    @property
    def mean_ms(self) -> float:
        """The mean of all calls, in milliseconds."""
        return self.all.mean_ms

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"mean {self.mean_ms:.3f} ms, 99 % within {self.p99_ms:.3f} ms, "
            f"{100 * self.coverage:.1f} % easy",
            f"all: {self.all}",
        ]
        lines += [f"easy: {self.easy}"] if self.easy else []
        lines += [f"hard: {self.hard}"] if self.hard else []
        return "\n".join(lines)


@dataclass(frozen=True)
class InTurns:
    """A call whose every run takes the next input; :func:`hwopt.compiler.measure` times it.

    Attributes:
        artifact: to run.
        turns: its inputs in order, without an end.
    """

    artifact: Artifact
    turns: Iterator[tuple[np.ndarray, ...]]

    @property
    def emulated(self) -> bool:
        """Whether the times are an emulator's."""
        return self.artifact.emulated

    def __call__(self) -> object:
        """Run the model with the next input."""
        return self.artifact(*next(self.turns))

    def times_ms(self, runs: int) -> list[float]:
        """Return how long each of so many calls takes, in milliseconds."""
        return [times_ms(self.artifact.call(*next(self.turns)), 1)[0] for _ in range(runs)]


def measure_over(
    artifact: Artifact,
    data: Sequence[Any] | Dataset[Any],
    runs: int | None = None,
    warmup: int = 20,
) -> DataLatency:
    """Time one call for every batch of a data set, one after the other.

    Args:
        artifact: to run.
        data: its items are pairs of inputs (without the dimension of the batch) and anything else,
            or inputs; tensors or arrays, several in a tuple or a dictionary by their names. What
            does not fill a batch at the end is left out.
        runs: the most calls; None is all that there are.
        warmup: calls before, with the first batches.

    Raises:
        HwoptError: if there is no whole batch, or the inputs do not fit.
    """
    batches = list(itertools.islice(_batches(artifact, data), runs))
    if not batches:
        raise HwoptError("the data has not enough inputs for one call of the model")
    for batch in itertools.islice(itertools.cycle(batches), warmup):
        artifact(*batch)
    times, asked = [], []
    for batch in batches:
        times += times_ms(artifact.call(*batch), 1)
        asked.append(artifact.asked)
    hard_rows = [np.zeros(1, bool) if rows is None else rows for rows in asked]
    is_hard = np.array([rows.any() for rows in hard_rows])

    threads, emulated = artifact.threads, artifact.emulated

    def part(chosen: np.ndarray) -> Latency | None:
        found = [t for t, wanted in zip(times, chosen, strict=True) if wanted]
        return distribution(found, warmup, threads, emulated=emulated) if found else None

    return DataLatency(
        p99_ms=float(np.percentile(times, 99)),
        all=distribution(times, warmup, threads, emulated=emulated),
        easy=part(~is_hard),
        hard=part(is_hard),
        coverage=1 - float(np.mean(np.concatenate(hard_rows))),
    )


def _batches(
    artifact: Artifact, data: Sequence[Any] | Dataset[Any]
) -> Iterator[tuple[np.ndarray, ...]]:
    if not hasattr(data, "__getitem__"):
        raise HwoptError(
            f"benchmark takes inputs or a torch data set, not {type(data).__name__}: of a hwopt "
            "DataSet give a split, such as .test"
        )
    rows = artifact.manifest.inputs[0].shape[0]
    items = (data[place] for place in range(len(data)))  # type: ignore[arg-type]
    inputs = (_in_order(artifact, one) for one in items)
    while len(batch := list(itertools.islice(inputs, rows))) == rows:
        yield tuple(np.stack(part) for part in zip(*batch, strict=True))


def _in_order(artifact: Artifact, item: Any) -> list[np.ndarray]:
    """Return the inputs of an item in the order of the artefact's."""
    given = item[0] if isinstance(item, tuple | list) else item
    names = [spec.name for spec in artifact.manifest.inputs]
    if isinstance(given, dict):
        check_same_names("input", given, names)
        given = [given[name] for name in names]
    return [np.asarray(one) for one in (given if isinstance(given, tuple | list) else [given])]
