"""``hwopt.compile``: from a model or a graph to an artefact."""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from hwopt.compiler.artifact import Artifact
from hwopt.compiler.loading import load
from hwopt.compiler.manifest import (
    CONSTANTS_FILE,
    LIBRARY_FILE,
    MANIFEST_FILE,
    Manifest,
    TargetDescription,
    TensorDescription,
)
from hwopt.compiler.plan import write_constants
from hwopt.errors import HwoptError
from hwopt.files import atomic_folder, check_replaceable, sha256, write_json
from hwopt.graph import Graph, TensorSpec, import_model
from hwopt.passes import apply

if TYPE_CHECKING:
    from hwopt.compiler.pipeline import BuildResult
    from hwopt.targets import Target
    from hwopt.targets.progress import Progress

#: What is done to every graph before it is lowered: it changes no output.
PREPARATION = "fold-constants,fold-batch-norm,fold-affine,eliminate-dead-code{keep_dropout=false}"
_VERSIONS = ("hwopt", "torch", "apache-tvm", "apache-tvm-ffi")


def compile(
    model_or_graph: torch.nn.Module | Graph,
    example_inputs: Sequence[torch.Tensor] | torch.Tensor | None = None,
    *,
    target: str | Path | Target = "host",
    trials: int | None = None,
    output: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Artifact:
    """Compile a model for a target and return the loaded artefact.

    Args:
        model_or_graph: a torch module or a graph.
        example_inputs: needed for a module. For a graph they set the batch size, which is 1
            without them.
        target: a name, the path of a ``.toml`` file, or a ``Target``.
        trials: the most candidates measured for a kernel; None is the default of the tuner, 0
            measures nothing: every kernel takes the fastest schedule known from before, or the
            model's first choice.
        output: the folder of the artefact; an artefact that is there is replaced, anything else
            is refused. If None, a temporary folder that goes with the artefact.
        seed: of the search for kernels that no template covers.
        progress: called with (kernels done, kernels in all, name, best time in us).

    Raises:
        HwoptError: if the model cannot be imported or compiled, the target cannot be used, or
            ``output`` is something else than an artefact.

    >>> import hwopt
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU())
    >>> artifact = hwopt.compile(model, torch.randn(1, 8), trials=0)
    >>> artifact(torch.randn(1, 8)).shape
    torch.Size([1, 4])
    """
    from hwopt import targets
    from hwopt.targets.host import supports

    start = time.perf_counter()
    if output is not None:
        check_replaceable(Path(output), MANIFEST_FILE)
    chosen = targets.get(target)
    if chosen.runner == "local" and not supports(chosen.isa):
        message = f"this machine has no {chosen.isa}, which target {chosen.name} needs"
        raise HwoptError(f"{message}: compile on one that has it, or for another target")
    examples = [example_inputs] if isinstance(example_inputs, torch.Tensor) else example_inputs
    if isinstance(model_or_graph, Graph):
        graph = model_or_graph
    else:
        graph = import_model(model_or_graph, examples)
    prepared = apply(graph, PREPARATION)
    inputs = _inputs(prepared, examples)
    built = _build(prepared, inputs, chosen, trials, seed, progress)
    batch = _batch(prepared, inputs)
    folder = Path(output) if output is not None else Path(tempfile.mkdtemp(prefix="hwopt-"))
    with atomic_folder(folder, MANIFEST_FILE) as temporary:
        shutil.copyfile(built.library, temporary / LIBRARY_FILE)
        write_constants(temporary / CONSTANTS_FILE, built.model.constants)
        prepared.save(temporary)
        manifest = Manifest(
            model=graph.name,
            inputs=_describe(prepared.inputs, batch),
            outputs=_describe({n: prepared.spec(o) for n, o in prepared.outputs.items()}, batch),
            target=_describe_target(chosen),
            passes=prepared.history,
            versions={name: importlib.metadata.version(name) for name in _VERSIONS},
            kernels=built.kernels,
            plan=built.model.plan,
            macs=prepared.macs(),
            parameters=prepared.num_parameters(),
            compile_seconds=round(time.perf_counter() - start, 2),
            files={file.name: sha256(file) for file in sorted(temporary.iterdir())},
        )
        write_json(temporary / MANIFEST_FILE, manifest.model_dump(mode="json"))
    artifact = load(folder, target=chosen)
    if output is None:
        weakref.finalize(artifact, shutil.rmtree, folder, ignore_errors=True)
    return artifact


def _inputs(graph: Graph, examples: Sequence[torch.Tensor] | None) -> tuple[torch.Tensor, ...]:
    """Return inputs to trace with, checked against the graph if they were given."""
    if examples is None:
        return graph.example_inputs()
    if len(examples) != len(graph.inputs):
        raise HwoptError(f"the model takes {len(graph.inputs)} inputs, {len(examples)} were given")
    batch = _batch(graph, tuple(examples))
    for example, (name, spec) in zip(examples, graph.inputs.items(), strict=True):
        if tuple(example.shape) != spec.at(batch):
            shape = list(example.shape)
            raise HwoptError(f"example input {name!r} has the shape {shape}, the graph {spec}")
    return tuple(examples)


def _batch(graph: Graph, inputs: Sequence[torch.Tensor]) -> int:
    """Return the batch size of inputs for a graph; 1 if the graph has a fixed one."""
    for tensor, spec in zip(inputs, graph.inputs.values(), strict=True):
        for size, dimension in zip(tensor.shape, spec.shape, strict=False):
            if not isinstance(dimension, int):
                return size // dimension.multiple
    return 1


def _build(
    graph: Graph,
    inputs: tuple[torch.Tensor, ...],
    target: Target,
    trials: int | None,
    seed: int,
    progress: Progress | None,
) -> BuildResult:
    from hwopt.compiler.lower import lower
    from hwopt.compiler.pipeline import build

    unmasked = graph.copy()
    for name in graph.masks:
        unmasked.set_mask(name, None)  # the weights are zero already
    module = lower(unmasked.to_torch().eval(), inputs)
    return build(module, target, trials=trials, seed=seed, progress=progress)


def _describe(specs: dict[str, TensorSpec], batch: int) -> tuple[TensorDescription, ...]:
    return tuple(
        TensorDescription(name=name, shape=spec.at(batch), dtype=spec.dtype)
        for name, spec in specs.items()
    )


def _describe_target(target: Target) -> TargetDescription:
    return TargetDescription(
        name=target.name,
        machine=target.machine,
        isa=target.isa,
        threads=target.threads,
        cpu=target.cpu,
        tvm=target.tvm,
        fingerprint=target.fingerprint(),
        emulated=target.emulated,
    )
