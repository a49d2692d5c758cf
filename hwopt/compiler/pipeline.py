"""The compiler, from Relax to machine code, phase by phase."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tvm
from tvm import relax, tirx

from hwopt.compiler import legalize
from hwopt.compiler.binary_layers import binary_layers
from hwopt.compiler.dump import Dump
from hwopt.compiler.footprint import Footprint
from hwopt.compiler.manifest import KernelDescription
from hwopt.compiler.merge_kernels import merge_kernels
from hwopt.compiler.whole_model import WholeModel, follow
from hwopt.errors import FAULT, HwoptError, last_line
from hwopt.targets import Target, templates, tuner, tvm_build
from hwopt.targets.database import LIBRARIES, KernelDatabase
from hwopt.targets.kernel_shape import kernel_shape
from hwopt.targets.libraries import build_library
from hwopt.targets.progress import Progress


@dataclasses.dataclass(frozen=True)
class BuildResult:
    """The file of a library, what it computes, and a report on its kernels."""

    library: Path
    model: WholeModel
    footprint: Footprint
    kernels: tuple[KernelDescription, ...]


def build(
    mod: tvm.IRModule,
    target: Target,
    *,
    kernel_trials: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    dump: Dump | None = None,
) -> BuildResult:
    """Compile a Relax module for ``target``.

    Args:
        mod: What :func:`hwopt.compiler.lower.lower` returns.
        target: The device to compile and measure for.
        kernel_trials: Most candidates to measure for one kernel; 0 measures none, None leaves the
            number to the tuner.
        seed: For the search of kernels that no template covers.
        progress: Called as ``progress(done, total, kernel_name, best_us)``.
        dump: Gets the module after every phase.

    Raises:
        HwoptError: if TVM cannot generate code for the target, the model does not fit into its
            memory, kernels cannot be measured, or inputs decide what runs on a GPU.
    """
    tvm_build.check_target(target)
    with tvm_build.tvm_target(target), tvm_build.pass_context(), _one_sentence():
        database = KernelDatabase(target)
        choose = functools.partial(
            tuner.choose, target=target, kernel_trials=kernel_trials, seed=seed, database=database
        )
        mod = to_kernels(mod, target, functools.partial(tuner.fastest, choose=choose), dump)
        # 4. One function that calls the kernels: what it takes of memory is known from here on.
        model = follow(mod)
        footprint = Footprint.of(model.plan)
        footprint.check(target)
        if target.is_gpu and model.plan.predicates:
            raise HwoptError(
                f"a model with two ways cannot be compiled for the GPU {target.name}: which one "
                "runs is known there, and decided here"
            )
        # 5. Schedules: each kernel takes the fastest known, measured if need be; machine code.
        kernels = unscheduled(mod)
        choices = choose(kernels, progress=progress)
        functions = {name: choice.func for name, choice in choices.items()}
        functions |= model.functions()
        if dump is not None:
            dump.kernels("phase-5-schedules", functions)
        library = build_library(functions, target, database.folder / LIBRARIES)
    calls = collections.Counter(call.kernel for call in model.plan.calls)
    reports = tuple(
        KernelDescription(
            name=name,
            road=choice.road,
            median_us=choice.median_us,
            candidates_measured=choice.candidates_measured,
            failures=choice.failures,
            calls=calls[name],
            macs=templates.macs(kernels[name], target),
            binary=templates.is_binary(kernels[name]),
            bytes=templates.touched_bytes(kernels[name]),
            **kernel_shape(kernels[name], target)._asdict(),
        )
        for name, choice in choices.items()
    )
    return BuildResult(library, model, footprint, reports)


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn what TVM says of its own failures into one sentence."""
    try:
        yield
    except tvm.error.InternalError as error:
        raise HwoptError(f"TVM cannot compile the model: {last_line(error)}; {FAULT}") from error


def to_kernels(
    mod: tvm.IRModule,
    target: Target,
    fastest: templates.Fastest = templates.first,
    dump: Dump | None = None,
) -> tvm.IRModule:
    """Turn operators into kernels: functions of plain loops without a schedule.

    Args:
        mod: operators and constants.
        target: the device.
        fastest: chooses where one operator can become one of several kernels.
        dump: gets the module after every phase.
    """
    written = dump.module if dump is not None else _unwritten
    written("lowered", mod)
    with tvm_build.tvm_target(target), tvm_build.pass_context():
        # 1. Simplify: one name a value, nothing that nobody reads.
        mod = _run(
            mod,
            relax.transform.CanonicalizeBindings(),
            relax.transform.DeadCodeElimination(),
        )
        written("phase-1-simplified", mod)
        # 2. Binary layers: products of signs become kernels on bits.
        if "relax.greater_equal" in _operators(mod):
            mod = binary_layers(mod, target)
            written("phase-2-binary-layers", mod)
        # 3. Kernels: operators become loops (those of the templates with packed weights), and
        #    chains of them become one function each.
        mod = _run(
            mod,
            relax.backend.DispatchSampling(),
            relax.transform.LegalizeOps(
                templates.legalizations(target, fastest) | legalize.legalizations()
            ),
            relax.backend.DispatchSortScan(),  # sorts what is left
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FoldConstant(),
            relax.transform.FuseOps(),
            relax.transform.FuseTIR(),
            relax.transform.DeadCodeElimination(),
        )
        mod = merge_kernels(mod, target)
        written("phase-3-kernels", mod)
        return mod


def _unwritten(name: str, mod: tvm.IRModule) -> None:
    """Write nothing: nobody asked for it."""


def unscheduled(mod: tvm.IRModule) -> dict[str, tirx.PrimFunc]:
    """Return the kernels of a module by name."""
    return {
        var.name_hint: func
        for var, func in mod.functions.items()
        if isinstance(func, tirx.PrimFunc)
    }


def _run(mod: tvm.IRModule, *passes: Any) -> tvm.IRModule:
    return tvm.transform.Sequential(list(passes))(mod)


def _operators(mod: tvm.IRModule) -> set[str]:
    """Return the names of the Relax operators that the module calls."""
    found: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, relax.Call) and isinstance(node.op, tvm.ir.Op):
            found.add(str(node.op.name))

    for func in mod.functions.values():
        if isinstance(func, relax.Function):
            relax.analysis.post_order_visit(func, visit)
    return found
