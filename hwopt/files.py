"""Files that are either whole or absent: temporary name first, then rename."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hwopt.errors import HwoptError


def user_folder() -> Path:
    """Return the folder for data sets, targets and kernel databases of this user.

    ``$HWOPT_HOME`` if set, else ``~/.cache/hwopt``.
    """
    return Path(os.environ.get("HWOPT_HOME") or Path.home() / ".cache" / "hwopt")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


#: The last entry of a sealed file, and what stands there while the seal is made.
SEAL, _NO_SEAL = "sha256", "0" * 64

#: What says that a folder is an artefact ...
MANIFEST_FILE = "manifest.json"
#: ... or a finished job.
RESULTS_FILE = "results.json"


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes ``path`` when the block ends without an error.

    The file gets the permissions of any other new file of this user.

    Raises:
        HwoptError: if the disk is full or the folder cannot be written.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(_permissions(0o666))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path, marker: str) -> Iterator[Path]:
    """Yield a temporary folder that replaces ``path`` when the block ends without an error.

    Raises:
        HwoptError: as :func:`check_replaceable`; if the disk is full or the folder cannot be
            written; or if another process writes the same folder.
    """
    path = path.resolve()
    check_replaceable(path, marker)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
        try:
            yield temporary
            temporary.chmod(_permissions(0o777))
            if path.exists():
                # A folder cannot be replaced in one step: move the old one aside first.
                old = Path(
                    tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old.", suffix=".part")
                )
                path.replace(old / path.name)
                temporary.replace(path)
                shutil.rmtree(old)
            else:
                temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def check_replaceable(path: Path, marker: str) -> None:
    """Refuse to replace anything but an empty folder, or one that holds the file ``marker``.

    Raises:
        HwoptError: if something else is there.
    """
    if not path.exists() or (path / marker).is_file():
        return
    if not path.is_dir() or any(path.iterdir()):
        raise HwoptError(f"{path} is there and has no {marker}: it is not replaced, choose another")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON: sorted as given, two spaces, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        HwoptError: if the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HwoptError(f"{path} does not exist") from None
    except OSError as error:
        raise HwoptError(f"{path} cannot be read: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise HwoptError(f"{path} is damaged: not valid JSON ({error})") from None


def write_sealed_json(path: Path, value: dict[str, Any]) -> None:
    """Write ``value`` as JSON with the hash of the file's own bytes as its last entry."""
    unsealed = json.dumps({**value, SEAL: _NO_SEAL}, indent=2) + "\n"
    seal = hashlib.sha256(unsealed.encode()).hexdigest()
    before, _, after = unsealed.rpartition(_NO_SEAL)
    with atomic_file(path) as temporary:
        temporary.write_text(before + seal + after, encoding="utf-8")


def read_sealed_json(path: Path) -> dict[str, Any]:
    """Read what :func:`write_sealed_json` wrote, without the seal.

    Raises:
        HwoptError: if the file is missing, is not JSON, or any byte of it was changed.
    """
    document = read_json(path)
    seal = document.pop(SEAL, None) if isinstance(document, dict) else None
    before, _, after = path.read_bytes().rpartition(str(seal).encode())
    unsealed = before + _NO_SEAL.encode() + after
    if seal is None or hashlib.sha256(unsealed).hexdigest() != seal:
        raise HwoptError(f"{path} is damaged or was changed: its seal is wrong")
    found: dict[str, Any] = document
    return found


def append_line(path: Path, line: str) -> None:
    """Append a line in one write, on disk before this returns.

    A process that is killed loses at most the line that it was writing; the next line begins anew.

    Raises:
        HwoptError: if the disk is full or the folder cannot be written.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else "\n" + line
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the errors of a full or read-only disk into one sentence about ``path``.

    Raises:
        HwoptError: if the disk is full or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"the disk is full: {path} was not written; free some space and run again"
            raise HwoptError(message) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR):
            message = f"{path} cannot be written ({error.strerror}); choose another folder"
            raise HwoptError(message) from error
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise HwoptError(f"{path} was written by another process meanwhile") from error
        raise
    except Exception as error:
        # Safetensors has an error of its own for what the system says.
        if type(error).__name__ != "SafetensorError" or "o space left" not in str(error):
            raise
        message = f"the disk is full: {path} was not written; free some space and run again"
        raise HwoptError(message) from error


def _permissions(mode: int) -> int:
    """Return ``mode`` less what this process's umask takes away."""
    umask = os.umask(0)
    os.umask(umask)
    return mode & ~umask
