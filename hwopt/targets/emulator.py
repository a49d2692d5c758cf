"""An AArch64 board that is none: TVM's server in an emulated process of this machine.

QEMU runs an AArch64 Python, of Debian's packages, with the AArch64 wheels of TVM. Nothing is
installed: everything lies in a folder of the user's. What runs there is right or wrong as on a
board; how long it takes says nothing about one.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from hwopt.errors import HwoptError
from hwopt.files import atomic_folder, user_folder, write_json

MACHINE, DEBIAN = "aarch64", "arm64"
QEMU = "qemu-aarch64"
#: Built-in target that describes it; its key at the tracker is the same.
TARGET = "emulated-aarch64"
#: What is needed of the system, and the Debian package that has it.
PROGRAMS = {QEMU: "qemu-user", "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu"}
SYSTEM = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "libgomp1")
WHEELS = (
    "apache-tvm",
    "apache-tvm-ffi",
    "numpy",
    "ml_dtypes",
    "psutil",
    "cloudpickle",
    "tornado",
    "typing_extensions",
)
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
MARKER = "emulator.json"


def missing_programs() -> list[str]:
    """Return the Debian packages whose programs are not there."""
    return [package for program, package in PROGRAMS.items() if shutil.which(program) is None]


def prepare(say: Callable[[str], None] = print) -> Path:
    """Return the emulated system's folder; make it if it is not there, in about a minute.

    Args:
        say: told what is done.

    Raises:
        HwoptError: if something cannot be had; says what.
    """
    if missing_programs():
        packages = " ".join(missing_programs())
        raise HwoptError(f"the emulator needs the Debian packages {packages}: apt-get install them")
    versions = {name: importlib.metadata.version(name) for name in WHEELS}
    name = f"{MACHINE}-tvm-{versions['apache-tvm']}-ffi-{versions['apache-tvm-ffi']}"
    folder = user_folder() / "emulators" / name
    if (folder / MARKER).is_file():
        return folder
    with atomic_folder(folder, MARKER) as temporary:
        say(f"unpacking Debian's packages for {MACHINE}")
        _unpack_system(temporary / "root")
        say(f"unpacking wheels for {MACHINE}")
        _install_wheels(temporary, versions)
        write_json(temporary / MARKER, versions)
    return folder


def command(folder: Path, *arguments: str) -> list[str]:
    """Return the command that runs the emulated system's Python with arguments."""
    package = Path(__file__).parents[2]
    paths = f"PYTHONPATH={folder / 'wheels'}{os.pathsep}{package}"
    python = str(next((folder / "root/usr/bin").glob("python3.*")))
    return [QEMU, "-L", str(folder / "root"), "-E", paths, python, *arguments]


def _unpack_system(root: Path) -> None:
    """Fetch packages and what they need, as an empty system would, and unpack them."""
    with tempfile.TemporaryDirectory() as name:
        own = Path(name)
        for part in ("state/lists/partial", "cache/archives/partial"):
            (own / part).mkdir(parents=True)
        (own / "status").touch()
        (own / "apt.conf").write_text(
            f'Dir::State "{own}/state";\nDir::Cache "{own}/cache";\n'
            f'Dir::State::status "{own}/status";\n'
            f'APT::Architecture "{DEBIAN}";\nAPT::Architectures {{"{DEBIAN}";}};\n'
            'APT::Sandbox::User "";\n'
        )
        environment = {**os.environ, "APT_CONFIG": str(own / "apt.conf")}
        _run(["apt-get", "update", "-qq"], environment)
        fetch = ["apt-get", "install", "-qq", "--download-only", "--no-install-recommends"]
        _run([*fetch, *SYSTEM], environment)
        for package in sorted((own / "cache/archives").glob("*.deb")):
            _run(["dpkg", "-x", str(package), str(root)], environment)


def _install_wheels(folder: Path, versions: dict[str, str]) -> None:
    """Put wheels for the emulated Python beside it, of the versions that this machine has."""
    python = next((folder / "root/usr/bin").glob("python3.*")).name.removeprefix("python")
    platforms = [f"--platform={platform}_{MACHINE}" for platform in PLATFORMS]
    _run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--target"),
            str(folder / "wheels"),
            *platforms,
            f"--python-version={python}",
            *("--only-binary=:all:", "--no-deps", "--disable-pip-version-check"),
            *(f"{name}=={version}" for name, version in versions.items()),
        ],
        dict(os.environ),
    )


def _run(command: list[str], environment: dict[str, str]) -> None:
    try:
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise HwoptError(
            f"{command[0]} is not there: the emulator is made of Debian's packages, on Debian"
        ) from None
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"exit code {error.returncode}"
        raise HwoptError(f"{' '.join(command[:3])} failed: {reason}") from None
