"""What an artefact computes: its values, and the kernel calls between them, in order."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

#: Constants are deflated if that takes less than this share of their bytes.
_WORTH_IT = 0.8
#: A sample of them: how many pieces, of how many bytes; and by how much it may be wrong.
_PIECES, _PIECE, _DOUBT = 64, 2**14, 0.05
#: The library's function that calls all kernels: of inputs, results, constants and workspace.
INFERENCE = "inference"
#: Kernels read and write whole vectors: their tensors start at multiples of this many bytes.
ALIGNMENT = 64
#: Between two values, so that they do not start at the same place of a page: a processor takes
#: a load and a store at equal places of two pages for one address, and waits.
APART = 17 * ALIGNMENT


class PlanValue(BaseModel):
    """An input, a constant, or the result of a kernel: its fixed shape and dtype."""

    model_config = ConfigDict(extra="forbid")
    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """The size of the value in memory."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def empty(self) -> np.ndarray:
        """Return an aligned array for the value."""
        return self.view(aligned(self.bytes), 0)

    def view(self, memory: np.ndarray, start: int) -> np.ndarray:
        """Return the array that starts at byte ``start`` of ``memory``."""
        array = memory[start : start + self.bytes].view(self.dtype).reshape(self.shape)
        if self.bytes:
            return array
        # TVM multiplies the sizes that follow, numpy passes over a size of zero.
        strides = [math.prod(self.shape[n + 1 :]) * array.itemsize for n in range(array.ndim)]
        return np.lib.stride_tricks.as_strided(array, strides=strides)


class Condition(NamedTuple):
    """A bool value, one a row, and which of the two must be in one row at least."""

    predicate: int
    holds: bool


class PlannedCheck(NamedTuple):
    """An int32 that is not zero after an inference where an input was wrong, and what then."""

    value: int
    sentence: str


class KernelCall(BaseModel):
    """One call of a kernel.

    Attributes:
        kernel: its name.
        arguments: the positions of the values it reads, then writes.
        when: the conditions, all of them, under which it runs at all.
        chooses: whether it reads a predicate and two results, and writes one of these.
    """

    model_config = ConfigDict(extra="forbid")
    kernel: str
    arguments: tuple[int, ...]
    when: tuple[Condition, ...] = ()
    chooses: bool = False


class Plan(BaseModel):
    """All kernel calls of an inference; numbers are positions in ``values``.

    Attributes:
        values: everything that a kernel reads or writes.
        inputs, constants, outputs: of the model, among the values.
        calls: in the order in which they run.
        checks: of inputs, made while the model runs.
    """

    model_config = ConfigDict(extra="forbid")
    values: tuple[PlanValue, ...]
    inputs: tuple[int, ...]
    constants: tuple[int, ...]
    outputs: tuple[int, ...]
    calls: tuple[KernelCall, ...]
    checks: tuple[PlannedCheck, ...] = ()

    @model_validator(mode="after")
    def _positions_exist(self) -> Plan:
        used = {*self.inputs, *self.constants, *self.outputs}
        used.update(check.value for check in self.checks)
        for call in self.calls:
            used.update(call.arguments, (asked.predicate for asked in call.when))
        if not used <= set(range(len(self.values))):
            raise ValueError("it names values that are not there")
        return self

    @property
    def results(self) -> tuple[int, ...]:
        """Those of the outputs that a kernel writes, each once."""
        given = {*self.inputs, *self.constants}
        return tuple(dict.fromkeys(n for n in self.outputs if n not in given))

    @property
    def written(self) -> tuple[tuple[int, ...], ...]:
        """The values that each call writes: those that are not there before."""
        there = {*self.inputs, *self.constants}
        found = []
        for call in self.calls:
            found.append(tuple(n for n in dict.fromkeys(call.arguments) if n not in there))
            there.update(call.arguments)
        return tuple(found)

    @property
    def predicates(self) -> tuple[int, ...]:
        """The values that conditions ask for, each once, in the order in which they are known."""
        asked = (condition.predicate for call in self.calls for condition in call.when)
        return tuple(dict.fromkeys(asked))

    @property
    def parameters(self) -> tuple[int, ...]:
        """The values that stand by themselves; all others are parts of two pieces of memory."""
        return (*self.inputs, *self.results)

    def packed_constants(self) -> Placement:
        """Place the constants one after the other."""
        places, size = {}, 0
        for number in self.constants:
            places[number] = size
            size += _rounded_up(self.values[number].bytes)
        return Placement(places, max(size, ALIGNMENT))

    def workspace(
        self,
        *,
        alignment: int = ALIGNMENT,
        apart: int = APART,
        scratch: Mapping[str, int] | None = None,
    ) -> Placement:
        """Find a place for every value that stays inside: the lowest where none needed then is.

        Args:
            alignment: of the places, in bytes.
            apart: bytes between two of them.
            scratch: bytes that kernels need while they run, by name; their places are by the
                number of the call, counted from -1 down.
        """
        given = {*self.parameters, *self.constants}
        last_use = {n: i for i, call in enumerate(self.calls) for n in call.arguments}
        # They are read after an inference, too: which way did it take, and was an input wrong?
        read_afterwards = (*self.predicates, *(check.value for check in self.checks))
        last_use |= dict.fromkeys(read_afterwards, len(self.calls))
        places: dict[int, int] = {}
        live: list[tuple[int, int, int]] = []  # start, end and value, by start
        size = alignment
        needs = {n: value.bytes for n, value in enumerate(self.values)}
        for i, call in enumerate(self.calls):
            needs[-1 - i], last_use[-1 - i] = (scratch or {}).get(call.kernel, 0), i
            for number in dict.fromkeys((*call.arguments, -1 - i)):
                if number in given or number in places or not needs[number]:
                    continue
                needed = _rounded_up(needs[number], alignment) + apart
                start = 0
                for taken, end, _ in live:
                    if start + needed <= taken:
                        break
                    start = end
                places[number] = start
                live = sorted([*live, (start, start + needed, number)])
                size = max(size, start + needed)
            live = [entry for entry in live if last_use[entry[2]] > i]
        return Placement(places, size)


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where in one piece of memory of ``bytes`` values start, by their positions in the plan."""

    places: dict[int, int]
    bytes: int


def pack(arrays: Sequence[np.ndarray], plan: Plan) -> np.ndarray:
    """Return the constants of a plan in one piece of memory."""
    placement = plan.packed_constants()
    memory = aligned(placement.bytes)
    memory[:] = 0
    for (number, start), array in zip(placement.places.items(), arrays, strict=True):
        plan.values[number].view(memory, start)[...] = array
    return memory


def write_constants(path: Path, constants: np.ndarray) -> None:
    """Write what :func:`pack` returned; deflated if that is worth it.

    Weights with many zeros or few distinct values, such as pruning and codebooks leave, are; others
    hardly get smaller.
    """
    content = constants.tobytes()
    deflated = zlib.compress(content, 6) if _may_shrink(content) else content
    worth_it = len(deflated) < _WORTH_IT * len(content)
    path.write_bytes(deflated if worth_it else content)


def _may_shrink(content: bytes) -> bool:
    """Say whether pieces from all over shrink: to deflate all of a large model takes seconds."""
    step = len(content) // _PIECES
    if step <= _PIECE:
        return True
    sample = b"".join(content[n * step : n * step + _PIECE] for n in range(_PIECES))
    return len(zlib.compress(sample, 6)) < (_WORTH_IT + _DOUBT) * len(sample)


def read_constants(path: Path, plan: Plan) -> np.ndarray:
    """Return memory as :func:`pack` does, from the file it was written to."""
    memory = aligned(plan.packed_constants().bytes)
    if path.stat().st_size == len(memory):
        with path.open("rb") as file:
            file.readinto(memory.data)
    else:
        memory[:] = np.frombuffer(zlib.decompress(path.read_bytes()), np.uint8)
    return memory


def aligned(size: int) -> np.ndarray:
    """Return ``size`` bytes; where they are many, numpy asks the system for large pages."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]


def _rounded_up(size: int, alignment: int = ALIGNMENT) -> int:
    """Return the multiple of ``alignment`` that ``size`` bytes need."""
    return -(-size // alignment) * alignment
