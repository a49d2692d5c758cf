"""Devices, and the kernels that are best on them.

>>> from hwopt import targets
>>> targets.get("x86-avx2").float_lanes
8
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from hwopt.errors import HwoptError, unknown_name
from hwopt.files import atomic_file, user_folder
from hwopt.targets import host
from hwopt.targets.target import Target

__all__ = [
    "Target",
    "builtin_names",
    "check",
    "get",
    "names",
    "out_of_reach",
    "require",
    "save",
    "threads_here",
    "user_file",
]

HOST = "host"
BUILTIN_FOLDER = Path(__file__).parent / "builtin"


def get(target: str | Path | Target, *, threads: int | None = None) -> Target:
    """Return the target of that name, or the one that a ``.toml`` file describes.

    Args:
        target: one of :func:`names`, the path of a ``.toml`` file, or what is a target already.
        threads: threads that kernels run with; None leaves them as the target says.

    Raises:
        HwoptError: if there is no such target, its file is wrong, or there is no thread.

    >>> get("x86-avx2", threads=1).threads
    1
    """
    if threads is not None and threads < 1:
        raise HwoptError(f"threads must be at least 1, not {threads}")
    target = target if isinstance(target, Target) else _find(target)
    return target if threads is None else dataclasses.replace(target, threads=threads)


def _find(name_or_path: str | Path) -> Target:
    name = str(name_or_path)
    if name.endswith(".toml"):
        return Target.from_file(Path(name), host.machine_facts())
    if name == HOST:
        return host.detect()
    files = _files()
    if name not in files:
        raise unknown_name("target", name, names())
    # A copy of another target's file still has that one's name in it.
    return dataclasses.replace(Target.from_file(files[name], host.machine_facts()), name=name)


def names() -> list[str]:
    """Return the names that :func:`get` knows: this machine, the built-in ones, the user's."""
    return [HOST, *sorted(_files())]


def threads_here(target: Target) -> int:
    """Return the threads for other work on this machine while it is done for a target.

    >>> threads_here(get("raspberry-pi-4")) == get("host").threads
    True
    """
    return target.threads if target.runner == "local" else get(HOST).threads


def builtin_names() -> list[str]:
    """Return the names of the targets that are shipped."""
    return sorted(path.stem for path in BUILTIN_FOLDER.glob("*.toml"))


def user_file(name: str) -> Path:
    """Return the file of a user's target, whether it is there or not."""
    return user_folder() / "targets" / f"{name}.toml"


def save(target: Target, path: Path | None = None) -> None:
    """Write a target of the user's, to a file or where it is found by its name.

    Raises:
        HwoptError: if the disk is full or the folder cannot be written.
    """
    with atomic_file(path or user_file(target.name)) as temporary:
        temporary.write_text(target.to_toml(), encoding="utf-8")


def out_of_reach(target: Target) -> str | None:
    """Say why kernels and models cannot be measured on a target from here, if so for good.

    >>> out_of_reach(get("raspberry-pi-4"))
    'nothing says how to reach raspberry-pi-4 to measure on it: see `hwopt targets add`'
    >>> out_of_reach(get("host"))
    """
    name = target.name
    if target.tvm["kind"] == "c":
        return f"target {name} takes C, no artefact, and is not measured: see `hwopt export --c`"
    if target.is_gpu:
        return (
            f"the GPU {name} is not measured from here: `hwopt compile` for it, and `hwopt bench` "
            "the artefact where it is"
        )
    if target.runner == "none":
        return f"nothing says how to reach {name} to measure on it: see `hwopt targets add`"
    return None


def require(target: Target) -> None:
    """Refuse a target that models cannot be compiled for, and measured on, from here and now.

    Raises:
        HwoptError: says what stands in the way. A board that is busy does not.
    """
    for problem in (out_of_reach(target), *_obstacles(target)):
        if problem:
            raise HwoptError(f"target {target.name} cannot be used: {problem}")
    if target.runner == "rpc":
        from hwopt.targets.tracker import Tracker

        with Tracker(target.tracker):
            pass


def check(target: Target) -> list[str]:
    """Return what stands in the way of using ``target`` here; nothing if all is well."""
    problems = _obstacles(target)
    if target.is_gpu:
        from hwopt.targets import gpu

        problems += [] if gpu.is_there() else [gpu.NO_GPU]
    elif reason := out_of_reach(target):
        problems.append(reason)
    if target.runner == "local" and target.threads > host.usable_cores():
        problems.append(
            f"{target.threads} threads on {host.usable_cores()} usable cores: they will wait for "
            "each other"
        )
    try:
        from hwopt.targets import tvm_build

        tvm_build.check_target(target)
        if target.runner == "rpc":
            from hwopt.targets.tracker import Tracker

            with Tracker(target.tracker) as tracker:
                tracker.wait_for(target.key, wait=0)
    except HwoptError as error:
        problems.append(str(error))
    return problems


def _obstacles(target: Target) -> list[str]:
    """Return what only another target, or another machine, would mend."""
    problems = []
    if target.runner == "local" and not host.supports(target.isa):
        problems.append(
            f"this machine has no {target.isa} (its widest is {host.host_isa()}): kernels can be "
            "built but not measured or run here"
        )
    if target.compiler and shutil.which(target.compiler) is None:
        problems.append(f"the compiler {target.compiler}, which links for it, is not installed")
    return problems


def _files() -> dict[str, Path]:
    """Return the target files by name; a user's file wins over a built-in one."""
    files: dict[str, Path] = {}
    for folder in (BUILTIN_FOLDER, user_folder() / "targets"):
        files.update({path.stem: path for path in folder.glob("*.toml")})
    return files
