"""Load an artefact, for where it is to run."""

from __future__ import annotations

import platform
from pathlib import Path

from hwopt import targets
from hwopt.compiler.artifact import Artifact
from hwopt.compiler.machines import BoardMachine, GpuMachine, Machine, NoMachine, ThisMachine
from hwopt.compiler.manifest import Manifest, read_manifest
from hwopt.errors import HwoptError
from hwopt.targets import gpu
from hwopt.targets.host import supports


def load(path: str | Path, *, target: str | Path | targets.Target | None = None) -> Artifact:
    """Load an artefact; the class of the original model is not needed.

    Args:
        path: its folder.
        target: what it runs on: a target's name, file or a ``Target``. None is this machine, or
            for an artefact of another kind of machine the board of its own target.

    Raises:
        HwoptError: if it is damaged, was changed, or is for another kind of machine.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    chosen = _own_target(folder, manifest) if target is None else targets.get(target)
    return Artifact(folder, manifest, _machine(folder, manifest, chosen))


def _own_target(folder: Path, manifest: Manifest) -> targets.Target:
    """Return this machine if it is of the right kind, or else the target of that name."""
    wanted = manifest.target
    if wanted.machine == platform.machine() and not wanted.emulated:
        return targets.get("host")
    if wanted.name in targets.names():
        target = targets.get(wanted.name)
        if target.runner == "rpc" or target.is_gpu:
            return target
    raise HwoptError(
        f"artefact {folder} is for {wanted.machine}, this machine is {platform.machine()}: compile "
        "the model for this one, or name a target that says how to reach such a device"
    )


def _machine(folder: Path, manifest: Manifest, target: targets.Target) -> Machine:
    wanted = manifest.target
    if wanted.machine != target.machine:
        message = f"artefact {folder} is for {wanted.machine}, target {target.name} is"
        raise HwoptError(f"{message} {target.machine}: compile the model for this one")
    if target.is_gpu and gpu.is_there():
        return GpuMachine(folder, manifest)
    if target.runner == "rpc":
        return BoardMachine(folder, manifest, target)
    if target.runner == "none":
        return NoMachine(manifest)
    if not supports(wanted.isa):
        message = f"artefact {folder} needs {wanted.isa}, which this machine does not have"
        raise HwoptError(f"{message}: compile for a target that it supports")
    return ThisMachine(folder, manifest)
