"""``hwopt.compile``: from a model or a graph to an artefact."""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hwopt.compiler.artifact import Artifact
from hwopt.compiler.dump import Dump
from hwopt.compiler.loading import load
from hwopt.compiler.manifest import (
    CONSTANTS_FILE,
    LIBRARY_FILE,
    MANIFEST_FILE,
    Comparison,
    Manifest,
    TargetDescription,
    write_manifest,
)
from hwopt.compiler.plan import write_constants
from hwopt.compiler.prepare import Prepared, prepare
from hwopt.errors import HwoptError
from hwopt.files import atomic_folder, check_replaceable, sha256
from hwopt.graph import Graph

if TYPE_CHECKING:
    from hwopt.targets import Target
    from hwopt.targets.progress import Progress

_UNCHECKED = Comparison(reason="it was not asked for")
_VERSIONS = ("hwopt", "torch", "apache-tvm", "apache-tvm-ffi")


def compile(
    model_or_graph: torch.nn.Module | Graph,
    example_inputs: torch.Tensor | Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    target: str | Path | Target = "host",
    kernel_trials: int | None = None,
    output: str | Path | None = None,
    seed: int = 0,
    check: bool = True,
    progress: Progress | None = None,
    dump: str | Path | Dump | None = None,
) -> Artifact:
    """Compile a model for a target and return the loaded artefact.

    Args:
        model_or_graph: a torch module or a graph.
        example_inputs: needed for a module, as ``hwopt.import_model`` takes them. For a graph they
            set the batch size, which is 1 without them.
        target: a name, the path of a ``.toml`` file, or a ``Target``.
        kernel_trials: the most candidates measured for a kernel; None is the default of the tuner,
            0 measures nothing: every kernel takes the fastest schedule known from before, or the
            model's first choice.
        output: the folder of the artefact; an artefact that is there is replaced, anything else
            is refused. If None, a temporary folder that goes with the artefact.
        seed: of the search for kernels that no template covers.
        check: run the artefact beside torch, and write none that computes something else. Where
            nothing within reach can run it, the manifest says so.
        progress: called with (kernels done, kernels in all, name, best time in us).
        dump: a folder for what the model is on its way, as text: the graph after every pass, Relax
            after every phase of the compiler, kernels with their schedules.

    Raises:
        HwoptError: if the model cannot be imported or compiled, what was compiled computes
            something else than torch, the target cannot be used, or ``output`` is something else
            than an artefact.

    >>> import hwopt
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU())
    >>> artifact = hwopt.compile(model, torch.randn(1, 8), kernel_trials=0)
    >>> artifact(torch.randn(1, 8)).shape
    torch.Size([1, 4])
    """
    from hwopt import targets
    from hwopt.compiler.pipeline import build
    from hwopt.targets.host import supports

    start = time.perf_counter()
    if output is not None:
        check_replaceable(Path(output), MANIFEST_FILE)
    chosen = targets.get(target)
    if chosen.tvm["kind"] == "c":
        raise HwoptError(f"target {chosen.name} takes C, no artefact: see `hwopt export --c`")
    if chosen.runner == "local" and not supports(chosen.isa):
        message = f"this machine has no {chosen.isa}, which target {chosen.name} needs"
        raise HwoptError(f"{message}: compile on one that has it, or for another target")
    texts = Dump(dump) if isinstance(dump, str | Path) else dump
    prepared = prepare(model_or_graph, example_inputs, texts)
    graph, lowered = prepared.graph, prepared.lowered()
    built = build(
        lowered, chosen, kernel_trials=kernel_trials, seed=seed, progress=progress, dump=texts
    )
    folder = Path(output) if output is not None else Path(tempfile.mkdtemp(prefix="hwopt-"))
    with atomic_folder(folder, MANIFEST_FILE) as temporary:
        shutil.copyfile(built.library, temporary / LIBRARY_FILE)
        write_constants(temporary / CONSTANTS_FILE, built.model.constants)
        graph.save(temporary)
        manifest = Manifest(
            model=graph.name,
            inputs=prepared.inputs,
            outputs=prepared.outputs,
            states=graph.states,
            target=_describe_target(chosen),
            passes=graph.history,
            versions={name: importlib.metadata.version(name) for name in _VERSIONS},
            kernels=built.kernels,
            plan=built.model.plan,
            footprint=built.footprint,
            macs=graph.macs(),
            parameters=graph.num_parameters(),
            compile_seconds=round(time.perf_counter() - start, 2),
            files={file.name: sha256(file) for file in sorted(temporary.iterdir())},
        )
        write_manifest(temporary, manifest)
        manifest.compared = _compared(temporary, chosen, prepared) if check else _UNCHECKED
        manifest.compile_seconds = round(time.perf_counter() - start, 2)
        write_manifest(temporary, manifest)
    artifact = load(folder, target=chosen)
    if output is None:
        weakref.finalize(artifact, shutil.rmtree, folder, ignore_errors=True)
    return artifact


def _compared(folder: Path, target: Target, prepared: Prepared) -> Comparison:
    """Run what was just written beside the graph."""
    from hwopt.compiler.compare import compare

    return compare(load(folder, target=target), prepared.graph, prepared.example)


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
