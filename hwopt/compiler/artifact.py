"""A compiled model: call it, measure it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from hwopt.compiler.arrays import as_arrays, like, misfit, random_arrays
from hwopt.compiler.data_latency import DataLatency, measure_over
from hwopt.compiler.grouping import predict
from hwopt.compiler.latency import Latency, measure
from hwopt.compiler.machines import BoardMachine, Machine, OnBoard
from hwopt.compiler.manifest import Manifest
from hwopt.compiler.plan import INFERENCE
from hwopt.compiler.profile import KernelProfile, profile
from hwopt.compiler.stream import Stream
from hwopt.errors import HwoptError, check_same_names

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from hwopt.graph import Graph


class Artifact:
    """A compiled model in a folder; calling it runs it.

    It takes numpy arrays or torch tensors of the shapes and dtypes in ``manifest.inputs`` and
    returns the same kind: one array, or a tuple where the model has several outputs. Given a
    mapping of inputs by their names, it returns one of outputs by theirs. It keeps
    nothing between calls (see :meth:`stream` for models that do) and may be called from several
    threads and forked processes; the calls of one artefact take turns, as they share their memory.

    Attributes:
        path: the folder.
        manifest: inputs, outputs, target, passes, kernels and versions.
    """

    def __init__(self, path: Path, manifest: Manifest, machine: Machine) -> None:
        self.path = path
        self.manifest = manifest
        self._machine = machine
        self._turn = threading.Lock()
        # Looked up once: a call of a small model takes tens of microseconds.
        self._dtypes = [np.dtype(spec.dtype) for spec in manifest.inputs]

    @property
    def is_remote(self) -> bool:
        """Whether it runs on a board."""
        return isinstance(self._machine, BoardMachine)

    @property
    def emulated(self) -> bool:
        """Whether an emulator runs it: its times are those of no device."""
        return self._machine.emulated

    @property
    def threads(self) -> int:
        """Threads that kernels are granted where they run."""
        return self._machine.threads

    def connect(self) -> None:
        """Reach what the artefact runs on; calls do it, too.

        Raises:
            HwoptError: if it is not within reach.
        """
        assert self.threads > 0

    def __call__(self, *inputs: Any) -> Any:
        """Run the model once.

        Args:
            inputs: in the order of ``manifest.inputs``, or one mapping by their names.

        Raises:
            HwoptError: if the number, a name, a shape or a dtype of the inputs is wrong, or an
                index leads outside of what it indexes; or if the device that the artefact is for is
                not within reach.
        """
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            return self._by_name(inputs[0])
        with self._turn:
            self.set_inputs(inputs)
            self._run()
            outputs = [array.copy() for array in self._machine.memory.outputs]
        return like(inputs[0] if inputs else outputs[0], outputs)

    def _by_name(self, given: Mapping[str, Any]) -> dict[str, Any]:
        names = [spec.name for spec in self.manifest.inputs]
        check_same_names("input", given, names)
        found = self(*(given[name] for name in names))
        outputs = found if isinstance(found, tuple) else (found,)
        return {spec.name: one for spec, one in zip(self.manifest.outputs, outputs, strict=True)}

    def stream(self, states: Mapping[str, str] | None = None) -> Stream:
        """Return the model with a memory of its own: some inputs are outputs of the call before.

        Args:
            states: from the name of an input to that of the output that it is next; by default
                those of the model, which are the buffers that it changed when it was imported.

        Raises:
            HwoptError: if there is no such input or output, or shape or dtype differ, or the model
                has no states and none are given.

        >>> import hwopt, torch
        >>> class Sum(torch.nn.Module):
        ...     def forward(self, x, total):
        ...         return x + total
        >>> one = torch.ones(1)
        >>> artifact = hwopt.compile(Sum(), (one, one), kernel_trials=0)
        >>> stream = artifact.stream({"total": "output"})
        >>> stream(one), stream(one)
        (tensor([1.]), tensor([2.]))
        >>> stream.reset()
        >>> stream(one)
        tensor([1.])
        """
        if states is None and not self.manifest.states:
            raise HwoptError("the model has no states of its own: say which output each input is")
        return Stream(self, states)

    def _run(self, function: str = INFERENCE) -> None:
        self._machine.run(function)
        if self.manifest.plan.checks:
            for is_wrong, sentence in self._machine.memory.checks:
                if is_wrong:
                    raise HwoptError(sentence)

    @property
    def has_ways(self) -> bool:
        """Whether inputs decide what runs."""
        return bool(self.manifest.plan.predicates)

    @property
    def asked(self) -> np.ndarray | None:
        """Which rows of the last call were hard, bool (N,); None if the model has one way only.

        Of choices within a choice this is the first one.
        """
        predicates = self.manifest.plan.predicates
        return self._machine.memory.arrays[predicates[0]].copy() if predicates else None

    def predict(self, *inputs: Any) -> Any:
        """Run the model for any number of rows.

        With two ways (the pass ``route``) the easy one runs for all, batch by batch, and the hard
        one for groups of the rows that ask for it.

        Args:
            inputs: arrays or tensors (n, ...) of equal n, at least 1.

        Raises:
            HwoptError: if shapes or dtypes are wrong, or an input or output has no rows.

        >>> import hwopt, torch
        >>> artifact = hwopt.compile(torch.nn.Linear(4, 2), torch.randn(2, 4), kernel_trials=0)
        >>> artifact.predict(np.zeros((5, 4), np.float32)).shape
        (5, 2)
        """
        given = self._as_arrays(inputs)
        specs = zip(given, self.manifest.inputs, self._dtypes, strict=True)
        for array, spec, dtype in specs:
            fits = array.shape[1:] == spec.shape[1:] and len(array) == len(given[0]) > 0
            if not fits or array.dtype != dtype:
                raise HwoptError(
                    f"input {spec.name!r} must be {spec.dtype} of shape [n, "
                    f"{', '.join(map(str, spec.shape[1:]))}] with the same n for all inputs, at "
                    f"least 1, not {array.dtype} {list(array.shape)}"
                )
        with self._turn:
            found = predict(self.manifest.plan, self._machine.memory.arrays, self._run, given)
        return like(inputs[0], found)

    def graph(self) -> Graph:
        """Return the graph that was compiled, with its weights."""
        from hwopt.graph import Graph

        return Graph.load(self.path)

    def bytes(self) -> int:
        """Return the size on disk of library, graph and weights, in bytes."""
        return sum((self.path / name).stat().st_size for name in self.manifest.files)

    def workspace_bytes(self) -> int:
        """Return the memory that is reserved for values inside the model, in bytes."""
        return self.manifest.plan.workspace().bytes

    def random_inputs(self, seed: int = 0) -> tuple[np.ndarray, ...]:
        """Return inputs that fit: standard normal floats, zeros and ones for other dtypes."""
        return random_arrays(self.manifest.inputs, seed)

    def _as_arrays(self, inputs: Sequence[Any]) -> list[np.ndarray]:
        """Return the inputs as numpy arrays; their number is right then."""
        return as_arrays(self.manifest.inputs, inputs)

    def set_inputs(self, inputs: Sequence[Any]) -> None:
        """Copy the inputs to where the kernels read them.

        Raises:
            HwoptError: if their number, a shape or a dtype is wrong.
        """
        arrays, specs = self._machine.memory.inputs, self.manifest.inputs
        given = self._as_arrays(inputs)
        for array, spec, dtype, value in zip(arrays, specs, self._dtypes, given, strict=True):
            if value.shape != array.shape or value.dtype != dtype:
                raise misfit(spec, value)
            array[...] = value

    def kernel_calls(self, inputs: Sequence[Any]) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yield the name and the call of each kernel of an inference, to be called in this order.

        An artefact itself has no such calls between its kernels; they serve to time them.
        """
        self.set_inputs(inputs)
        for call in self.manifest.plan.calls:
            yield call.kernel, self._machine.kernel(call)

    def call(self, *inputs: Any) -> Callable[[], Any]:
        """Return the call with these inputs, to be timed by :func:`hwopt.compiler.measure`.

        On this machine the time is that of the whole call, with the copy of the input and the
        output; on a board it is that of the inference there, without the way to it.

        Raises:
            HwoptError: as the call itself.

        >>> import hwopt, torch
        >>> artifact = hwopt.compile(torch.nn.Linear(4, 2), torch.randn(1, 4), kernel_trials=0)
        >>> artifact.call(np.zeros((1, 4), np.float32))().shape
        (1, 2)
        """
        if isinstance(self._machine, BoardMachine):
            return OnBoard(self, self._machine, inputs)
        return functools.partial(self, *inputs)

    def profile(self, *, runs: int = 50) -> tuple[KernelProfile, ...]:
        """Time every kernel inside the running model, beside the least that it could take here.

        Args:
            runs: inferences; as many come before them that are not measured.

        Returns:
            One entry a kernel, in the order of their first call.

        Raises:
            HwoptError: if the artefact runs on a board.
        """
        from hwopt import targets
        from hwopt.targets.peak import measure_peak

        if self.is_remote:
            raise HwoptError("kernels are profiled on this machine, not on a board")
        peak = measure_peak(targets.get(targets.HOST, threads=self.threads))
        return profile(self, peak, runs=runs)

    @overload
    def benchmark(
        self, data: Sequence[Any] | None = None, *, runs: int | None = None, warmup: int = 20
    ) -> Latency: ...

    @overload
    def benchmark(
        self, data: Dataset[Any], *, runs: int | None = None, warmup: int = 20
    ) -> DataLatency: ...

    def benchmark(
        self,
        data: Sequence[Any] | Dataset[Any] | None = None,
        *,
        runs: int | None = None,
        warmup: int = 20,
    ) -> Latency | DataLatency:
        """Measure whole calls, the copy of the input and the output included.

        Args:
            data: the inputs, a tuple or a list, of all calls; random by default. Or a torch data
                set, of which every call takes the next batch: see
                :func:`hwopt.compiler.data_latency.measure_over`.
            runs: measured calls; None is 200, and all batches of a data set.
            warmup: calls before them.

        Raises:
            HwoptError: if ``runs`` is less than 1, or the inputs do not fit.
        """
        if runs is not None and runs < 1:
            raise HwoptError(f"runs must be 1 or more, not {runs}")
        if data is not None and not isinstance(data, tuple | list):
            return measure_over(self, data, runs, warmup)
        given = self.random_inputs() if data is None else tuple(data)
        calls = {"artifact": self.call(*given)}
        return measure(calls, threads=self.threads, runs=runs or 200, warmup=warmup)["artifact"]
