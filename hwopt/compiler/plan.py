"""What an artefact computes: its values, and the kernel calls between them, in order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

#: The library's function that calls all kernels; it takes ``Plan.parameters``.
INFERENCE = "inference"
#: Kernels read and write whole vectors: their tensors start at multiples of this many bytes.
ALIGNMENT = 64


class Value(BaseModel):
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
        memory = np.zeros(self.bytes + ALIGNMENT, np.uint8)
        return self.view(memory, -memory.ctypes.data % ALIGNMENT)

    def view(self, memory: np.ndarray, start: int) -> np.ndarray:
        """Return the array that starts at byte ``start`` of ``memory``."""
        return memory[start : start + self.bytes].view(self.dtype).reshape(self.shape)


class Call(BaseModel):
    """One call of a kernel: its name, and the positions of the values it reads, then writes."""

    model_config = ConfigDict(extra="forbid")
    kernel: str
    arguments: tuple[int, ...]


class Plan(BaseModel):
    """All kernel calls of an inference; numbers are positions in ``values``.

    Attributes:
        values: everything that a kernel reads or writes.
        inputs, constants, outputs: of the model, among the values.
        calls: in the order in which they run.
    """

    model_config = ConfigDict(extra="forbid")
    values: tuple[Value, ...]
    inputs: tuple[int, ...]
    constants: tuple[int, ...]
    outputs: tuple[int, ...]
    calls: tuple[Call, ...]

    @model_validator(mode="after")
    def _positions_exist(self) -> Plan:
        used = {*self.inputs, *self.constants, *self.outputs}
        used.update(number for call in self.calls for number in call.arguments)
        if not used <= set(range(len(self.values))):
            raise ValueError("it names values that are not there")
        return self

    @property
    def results(self) -> tuple[int, ...]:
        """Those of the outputs that a kernel writes, each once."""
        given = {*self.inputs, *self.constants}
        return tuple(dict.fromkeys(n for n in self.outputs if n not in given))

    @property
    def parameters(self) -> tuple[int, ...]:
        """What the compiled function takes: inputs, constants, and its results to write."""
        return (*self.inputs, *self.constants, *self.results)


def write_constants(path: Path, arrays: Sequence[np.ndarray]) -> None:
    """Write constants one after the other, each at a multiple of :data:`ALIGNMENT` bytes."""
    with path.open("wb") as file:
        for array in arrays:
            file.write(np.ascontiguousarray(array).data)
            file.write(bytes(-file.tell() % ALIGNMENT))


def map_constants(path: Path, plan: Plan) -> Iterator[np.ndarray]:
    """Yield the constants of a plan as views of the file: read when used, shared by processes."""
    if not plan.constants:
        return
    memory = np.memmap(path, np.uint8, mode="c")
    start = 0
    for number in plan.constants:
        value = plan.values[number]
        yield value.view(memory, start)
        start += value.bytes + -value.bytes % ALIGNMENT
