"""What runs the library of an artefact: this process, its GPU, or a board."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

from hwopt.compiler.manifest import LIBRARY_FILE, Manifest
from hwopt.compiler.memory import Memory
from hwopt.compiler.plan import INFERENCE, KernelCall
from hwopt.errors import HwoptError, first_line
from hwopt.targets import gpu
from hwopt.targets.runtime import load_runtime
from hwopt.targets.threads import call_elsewhere, has_pool, is_ready, use_threads

if TYPE_CHECKING:
    from hwopt.compiler.artifact import Artifact
    from hwopt.targets import Target
    from hwopt.targets.boards import Board


class Machine(Protocol):
    """Runs functions of a library."""

    @property
    def memory(self) -> Memory:
        """Inputs are read from it, and outputs stand in it afterwards."""

    @property
    def threads(self) -> int:
        """Threads that kernels are granted."""

    @property
    def emulated(self) -> bool:
        """Whether an emulator runs it: its times are those of no device."""

    def run(self, function: str = INFERENCE) -> None:
        """Run a function once."""

    def kernel(self, call: KernelCall) -> Callable[[], None]:
        """Return one call of a kernel."""


class ThisMachine:
    """Runs a library in this process."""

    emulated = False

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._asked = manifest.target.threads
        self.threads = use_threads(self._asked)
        self._runtime = load_runtime()
        self._library = _load_library(folder / LIBRARY_FILE)
        self.memory = Memory(folder, manifest.plan)
        self._parameters = [self._runtime.from_dlpack(array) for array in self.memory.parameters]
        # Looked up once: a call of a small model takes tens of microseconds.
        self._function = functools.cache(self._library.__getitem__)

    def run(self, function: str = INFERENCE) -> None:
        """Run a function once."""
        if not is_ready(self._asked):
            if not has_pool():
                call_elsewhere(functools.partial(self.run, function))
                return
            use_threads(self._asked)
        self._function(function)(*self._parameters)

    def kernel(self, call: KernelCall) -> Callable[[], None]:
        """Return one call of a kernel; an artefact itself has no such calls between its kernels."""
        use_threads(self._asked)
        tensors = [self._runtime.from_dlpack(self.memory.arrays[n]) for n in call.arguments]
        return functools.partial(self._function(call.kernel), *tensors)


class GpuMachine:
    """Runs a library on this machine's GPU; the memory here has a copy of inputs and outputs.

    Code for the GPU is part of the library as CUDA, which TVM compiles when it runs first. That
    takes NVIDIA's CUDA toolkit, and ``pip install cuda-bindings`` for NVRTC, or the environment
    variable ``TVM_CUDA_COMPILE_MODE=nvcc``.
    """

    emulated, threads = False, 1

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        # All of TVM: the runtime by itself has neither a loader of code for GPUs nor a compiler.
        import tvm
        from tvm.support import nvcc  # noqa: F401

        self.memory = Memory(folder, manifest.plan)
        self._library = _load_library(folder / LIBRARY_FILE)
        self._parameters = [
            tvm.runtime.tensor(array, tvm.cuda(0)) for array in self.memory.parameters
        ]
        *self._copied, _constants, workspace = zip(
            self.memory.parameters, self._parameters, strict=True
        )
        if self.memory.checks:  # they stand in it
            self._copied.append(workspace)

    def run(self, function: str = INFERENCE) -> None:
        """Copy the inputs to the GPU, run a function once, and copy the outputs back.

        Raises:
            HwoptError: if the GPU, or the compiler of its code, says what is wrong.
        """
        try:
            for array, tensor in self._copied:
                tensor.copyfrom(array)
            self._library[function](*self._parameters)
            for array, tensor in self._copied:
                array[...] = tensor.numpy()
        except RuntimeError as error:
            reason = first_line(error)
            raise HwoptError(f"the GPU cannot run the artefact: {reason}") from error

    def kernel(self, call: KernelCall) -> Callable[[], None]:
        """Refuse: a call returns before its kernel has run."""
        raise HwoptError("kernels are timed one by one on this machine's processor, not on a GPU")


class BoardMachine:
    """Runs a library on a board; the memory here is a copy of the board's.

    It is sent there when something runs first, and again after the board was given back.
    """

    def __init__(self, folder: Path, manifest: Manifest, target: Target) -> None:
        self.memory = Memory(folder, manifest.plan)
        self.emulated = target.emulated
        self._target = target
        self._library, self._threads = folder / LIBRARY_FILE, manifest.target.threads

    @property
    def threads(self) -> int:
        """Threads that the board grants."""
        return self._there()[0].use_threads(self._threads)

    def run(self, function: str = INFERENCE) -> None:
        """Copy the memory to the board, run a function once, and copy it back."""
        board, sent = self._there()
        with board.errors():
            sent.write(self.memory)
            sent.library[function](*sent.parameters)
            sent.read(self.memory)

    def times_ms(self, runs: int) -> list[float]:
        """Return how long each of so many inferences takes on the board, in milliseconds."""
        board, sent = self._there()
        with board.errors():
            sent.write(self.memory)
        times = board.seconds(sent.library, sent.parameters, INFERENCE, number=1, repeat=runs)
        with board.errors():
            sent.read(self.memory)
        return [1e3 * seconds for seconds in times]

    def kernel(self, call: KernelCall) -> Callable[[], None]:
        """Refuse: between two calls lies the network."""
        raise HwoptError("kernels are timed one by one on this machine only, not on a board")

    def _there(self) -> tuple[Board, _Sent]:
        from hwopt.targets import boards

        board = boards.shared(self._target)
        if self not in board.kept:
            library = board.load(self._library)
            parameters = [board.tensor(array) for array in self.memory.parameters]
            board.kept[self] = _Sent(library, parameters)
        board.use_threads(self._threads)  # another artefact may have said another number
        return board, board.kept[self]


class _Sent(NamedTuple):
    """What an artefact has on a board."""

    library: Any
    parameters: list[Any]

    def write(self, memory: Memory) -> None:
        """Copy there what is not constant."""
        for array, tensor in self._changing(memory):
            tensor.copyfrom(array)

    def read(self, memory: Memory) -> None:
        """Copy it back."""
        for array, tensor in self._changing(memory):
            array[...] = tensor.numpy()

    def _changing(self, memory: Memory) -> list[tuple[Any, Any]]:
        *pairs, _constants, workspace = zip(memory.parameters, self.parameters, strict=True)
        return [*pairs, workspace]


def release_boards(target: Target) -> None:
    """Give back the board that this process holds, if a target is one: others wait for it."""
    if target.runner == "rpc":
        from hwopt.targets import boards

        boards.release()


@contextlib.contextmanager
def alone_on(target: Target) -> Iterator[None]:
    """Let no other process tune or measure on a target while models are measured on it.

    A board is given back before and after: others may wait for it, and hold the lock.
    """
    from hwopt.targets.database import KernelDatabase  # which imports TVM's compiler

    release_boards(target)
    try:
        with KernelDatabase(target).alone():
            yield
    finally:
        release_boards(target)


class NoMachine:
    """Stands for a device that is not within reach: whatever is asked of it is refused."""

    def __init__(self, manifest: Manifest) -> None:
        self._target = manifest.target

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse.

        Raises:
            HwoptError: says what would help.
        """
        if self._target.machine == "cuda":
            raise HwoptError(gpu.NO_GPU)
        raise HwoptError(
            f"the artefact is for {self._target.name} ({self._target.machine}), and no such device "
            "is within reach: run it there, or say how to reach one with `hwopt targets add`"
        )


def _load_library(path: Path) -> Any:
    """Load a library by a name that no other has had.

    The system's loader takes a path that it has seen for the library that it loaded then, also when
    another artefact is there now.
    """
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / path.name
        link.symlink_to(path.resolve())
        return load_runtime().load_module(link)


@dataclasses.dataclass(frozen=True)
class OnBoard:
    """A call that is timed where it runs."""

    artifact: Artifact
    machine: BoardMachine
    inputs: tuple[Any, ...]

    @property
    def emulated(self) -> bool:
        """Whether the times are an emulator's."""
        return self.machine.emulated

    def __call__(self) -> Any:
        """Run the model once."""
        return self.artifact(*self.inputs)

    def times_ms(self, runs: int) -> list[float]:
        """Return how long each of so many inferences takes there, in milliseconds."""
        self.artifact.set_inputs(self.inputs)
        return self.machine.times_ms(runs)
