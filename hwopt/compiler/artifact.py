"""A compiled model: load it, call it, measure it."""

from __future__ import annotations

import functools
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from hwopt.compiler.arrays import as_numpy, like, misfit
from hwopt.compiler.data_latency import DataLatency, measure_over
from hwopt.compiler.grouping import predict
from hwopt.compiler.latency import Latency, measure
from hwopt.compiler.manifest import (
    CONSTANTS_FILE,
    LIBRARY_FILE,
    Manifest,
    read_manifest,
)
from hwopt.compiler.plan import INFERENCE, aligned, read_constants
from hwopt.errors import HwoptError
from hwopt.targets.runtime import load_runtime
from hwopt.targets.threads import use_threads

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from hwopt.graph import Graph


class Artifact:
    """A compiled model in a folder; calling it runs it.

    It takes numpy arrays or torch tensors of the shapes and dtypes in ``manifest.inputs`` and
    returns the same kind: one array, or a tuple where the model has several outputs. Calls share
    their memory: one at a time.

    Attributes:
        path: the folder.
        manifest: inputs, outputs, target, passes, kernels and versions.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.threads = use_threads(manifest.target.threads)
        self._runtime = load_runtime()
        self._library = _load_library(path / LIBRARY_FILE)
        self._inference = self._library[INFERENCE]
        plan = manifest.plan
        constants, workspace = plan.packed_constants(), plan.workspace()
        self._arrays = {n: plan.values[n].empty() for n in plan.parameters}
        parameters = list(self._arrays.values())
        for placement, memory in (
            (constants, read_constants(path / CONSTANTS_FILE, plan)),
            (workspace, aligned(workspace.bytes)),
        ):
            parameters.append(memory)
            inside = {n: plan.values[n].view(memory, at) for n, at in placement.places.items()}
            self._arrays.update(inside)
        self._parameters = [self._runtime.from_dlpack(array) for array in parameters]
        # Looked up once: a call of a small model takes tens of microseconds.
        self._inputs = [
            (self._arrays[number], spec, np.dtype(spec.dtype))
            for number, spec in zip(plan.inputs, manifest.inputs, strict=True)
        ]
        self._outputs = [self._arrays[number] for number in plan.outputs]

    def __call__(self, *inputs: Any) -> Any:
        """Run the model once.

        Raises:
            HwoptError: if the number, a shape or a dtype of the inputs is wrong.
        """
        self._set_inputs(inputs)
        use_threads(self.manifest.target.threads)
        self._inference(*self._parameters)
        return like(inputs[0], [array.copy() for array in self._outputs])

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
        return self._arrays[predicates[0]].copy() if predicates else None

    def predict(self, *inputs: Any) -> Any:
        """Run the model for any number of rows.

        With two ways (the pass ``route``) the easy one runs for all, batch by batch, and the hard
        one for groups of the rows that ask for it.

        Args:
            inputs: arrays or tensors (n, ...) of equal n, at least 1.

        Raises:
            HwoptError: if shapes or dtypes are wrong, or an input or output has no rows.

        >>> import hwopt, torch
        >>> artifact = hwopt.compile(torch.nn.Linear(4, 2), torch.randn(2, 4), trials=0)
        >>> artifact.predict(np.zeros((5, 4), np.float32)).shape
        (5, 2)
        """
        given = self._as_arrays(inputs)
        for array, (_, spec, dtype) in zip(given, self._inputs, strict=True):
            fits = array.shape[1:] == spec.shape[1:] and len(array) == len(given[0]) > 0
            if not fits or array.dtype != dtype:
                raise HwoptError(
                    f"input {spec.name!r} must be {spec.dtype} of shape [n, "
                    f"{', '.join(map(str, spec.shape[1:]))}] with the same n for all inputs, at "
                    f"least 1, not {array.dtype} {list(array.shape)}"
                )
        use_threads(self.manifest.target.threads)

        def run(name: str) -> None:
            self._library[name](*self._parameters)

        return like(inputs[0], predict(self.manifest.plan, self._arrays, run, given))

    def graph(self) -> Graph:
        """Return the graph that was compiled, with its weights."""
        from hwopt.graph import Graph

        return Graph.load(self.path)

    def bytes(self) -> int:
        """Return the size on disk of library, graph and weights, in bytes."""
        return sum((self.path / name).stat().st_size for name in self.manifest.files)

    def random_inputs(self, seed: int = 0) -> tuple[np.ndarray, ...]:
        """Return inputs that fit: standard normal floats, zeros and ones for other dtypes."""
        generator = np.random.default_rng(seed)
        return tuple(
            generator.standard_normal(spec.shape).astype(spec.dtype)
            if np.issubdtype(np.dtype(spec.dtype), np.floating)
            else generator.integers(0, 2, spec.shape).astype(spec.dtype)
            for spec in self.manifest.inputs
        )

    def _as_arrays(self, inputs: Sequence[Any]) -> list[np.ndarray]:
        """Return the inputs as numpy arrays; their number is right then."""
        if len(inputs) != len(self._inputs):
            wanted = ", ".join(spec.name for _, spec, _ in self._inputs)
            message = f"the model takes {len(self._inputs)} inputs ({wanted}), not {len(inputs)}"
            raise HwoptError(message)
        return [
            value if isinstance(value, np.ndarray) else as_numpy(spec, value)
            for (_, spec, _), value in zip(self._inputs, inputs, strict=True)
        ]

    def _set_inputs(self, inputs: Sequence[Any]) -> None:
        """Copy the inputs to where the kernels read them."""
        given = self._as_arrays(inputs)
        for (array, spec, dtype), value in zip(self._inputs, given, strict=True):
            if value.shape != array.shape or value.dtype != dtype:
                raise misfit(spec, value)
            array[...] = value

    def kernel_calls(self, inputs: Sequence[Any]) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yield the name and the call of each kernel of an inference, to be called in this order.

        An artefact itself has no such calls between its kernels; they serve to time them.
        """
        self._set_inputs(inputs)
        use_threads(self.manifest.target.threads)
        tensors = {n: self._runtime.from_dlpack(array) for n, array in self._arrays.items()}
        for call in self.manifest.plan.calls:
            arguments = [tensors[number] for number in call.arguments]
            yield call.kernel, functools.partial(self._library[call.kernel], *arguments)

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
        calls = {"artifact": lambda: self(*given)}
        return measure(calls, threads=self.threads, runs=runs or 200, warmup=warmup)["artifact"]


def _load_library(path: Path) -> Any:
    """Load a library by a name that no other has had.

    The system's loader takes a path that it has seen for the library that it loaded then, also when
    another artefact is there now.
    """
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / path.name
        link.symlink_to(path.resolve())
        return load_runtime().load_module(link)


def load(path: str | Path) -> Artifact:
    """Load an artefact; the class of the original model is not needed.

    Raises:
        HwoptError: if it is damaged, was changed, or is for another kind of machine.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    _check_machine(folder, manifest)
    return Artifact(folder, manifest)


def _check_machine(folder: Path, manifest: Manifest) -> None:
    from hwopt.targets.host import supports

    target = manifest.target
    here = platform.machine()
    if target.machine != here:
        message = f"artefact {folder} is for {target.machine}, this machine is {here}"
        raise HwoptError(f"{message}: compile the model for this one")
    if not supports(target.isa):
        message = f"artefact {folder} needs {target.isa}, which this machine does not have"
        raise HwoptError(f"{message}: compile for a target that it supports")
