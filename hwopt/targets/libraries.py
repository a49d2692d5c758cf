"""Linked libraries, kept beside the kernel database: the same kernels are compiled once.

A library holds code only. Weights are not part of it, so a model that was trained further, or one
of the same shape, finds its library here.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tvm
from tvm import tirx
from tvm.support import cc

from hwopt.errors import HwoptError, last_line
from hwopt.files import atomic_file
from hwopt.targets import tvm_build
from hwopt.targets.target import Target

_VERSIONS = ("hwopt", "apache-tvm", "apache-tvm-ffi")


def build_library(functions: Mapping[str, tirx.PrimFunc], target: Target, folder: Path) -> Path:
    """Return the file of a library with functions of these names; build it if it is not there.

    Args:
        functions: scheduled.
        target: the device.
        folder: where the target's libraries are kept.

    Raises:
        HwoptError: if it cannot be linked, or the disk is full.
    """
    path = folder / f"{_key(functions, target)}.so"
    if path.exists():
        return path
    library = tvm_build.build(functions, target)
    with atomic_file(path) as temporary:
        # TVM takes the kind of a file from its name.
        linked = temporary.with_suffix(".so")
        try:
            link(library, linked, target)
            linked.replace(temporary)
        finally:
            linked.unlink(missing_ok=True)
    return path


def link(library: Any, path: Path, target: Target) -> None:
    """Link a runtime module that was built for a target.

    Args:
        library: the module.
        path: of a file whose name ends with ``.so``.
        target: its ``compiler`` links.

    Raises:
        HwoptError: if it cannot be linked, or the disk is full.
    """
    fcompile = cc.cross_compiler(target.compiler) if target.compiler else None
    try:
        library.export_library(str(path), fcompile=fcompile)
    except (RuntimeError, FileNotFoundError, TypeError) as error:
        # The last one comes of TVM finding no compiler, and running None.
        raise _linking_error(error, path, target) from error


def _key(functions: Mapping[str, tirx.PrimFunc], target: Target) -> str:
    """Return a hash of all that the machine code depends on."""
    digest = hashlib.sha256()
    for name, func in functions.items():
        digest.update(f"{name} {tvm.ir.save_json(func)}".encode())
    versions = [importlib.metadata.version(name) for name in _VERSIONS]
    digest.update(f"{versions} {tvm_build.tvm_target(target)} {target.compiler}".encode())
    return digest.hexdigest()[:32]


def _linking_error(error: Exception, path: Path, target: Target) -> Exception:
    """Return what the linker's own words mean."""
    if "No space left on device" in str(error):
        return OSError(errno.ENOSPC, "No space left on device", str(path))
    reason = last_line(error)
    compiler = target.compiler or "g++"
    return HwoptError(f"the compiled model cannot be linked: {reason}; is {compiler} there?")
