"""What packages of PyPI and Debian bring: downloaded and unpacked; nothing is installed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from hwopt.files import atomic_folder, user_folder

_UNPACKED = ".unpacked"


def of_pypi(package: str) -> Path:
    """Return the folder that a wheel lies unpacked in.

    Args:
        package: such as ``nudenet==3.4.2``; what it depends on is not asked for.
    """

    def fetch(scratch: Path, folder: Path) -> None:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", package]
        subprocess.run([*command, "--dest", str(scratch)], check=True)
        (wheel,) = scratch.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)

    return _fetched(package.replace("==", "-"), fetch)


def of_debian(package: str) -> Path:
    """Return the folder that a package of Debian lies unpacked in; needs ``apt-get``."""

    def fetch(scratch: Path, folder: Path) -> None:
        subprocess.run(["apt-get", "download", "-qq", package], check=True, cwd=scratch)
        (archive,) = scratch.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)

    return _fetched(package, fetch)


def _fetched(name: str, fetch: Callable[[Path, Path], None]) -> Path:
    folder = user_folder() / "data" / "packages" / name
    if not folder.is_dir():
        with (
            tempfile.TemporaryDirectory() as scratch,
            atomic_folder(folder, _UNPACKED) as temporary,
        ):
            fetch(Path(scratch), temporary)
            (temporary / _UNPACKED).touch()
    return folder
