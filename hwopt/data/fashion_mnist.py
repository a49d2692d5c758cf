"""Fashion-MNIST: where its files may lie, how they are fetched, checked and read.

70,000 grey 28x28 pictures of clothes in ten classes (Xiao, Rasul, Vollgraf 2017,
arXiv:1708.07747), MIT licence.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.client
import io
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hwopt import files
from hwopt.data.dataset import DataSet
from hwopt.data.tensors import image_data_set
from hwopt.errors import HwoptError

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@dataclasses.dataclass(frozen=True)
class _File:
    """One IDX file. The checksum is of the uncompressed bytes: Debian compresses them anew."""

    name: str
    header: int
    shape: tuple[int, ...]
    sha256: str

    @property
    def size(self) -> int:
        """Uncompressed bytes."""
        return self.header + int(np.prod(self.shape))


_TRAIN_IMAGES = _File(
    "train-images-idx3-ubyte",
    16,
    (60_000, 1, 28, 28),
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
)
_TRAIN_LABELS = _File(
    "train-labels-idx1-ubyte",
    8,
    (60_000,),
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
)
_TEST_IMAGES = _File(
    "t10k-images-idx3-ubyte",
    16,
    (10_000, 1, 28, 28),
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
)
_TEST_LABELS = _File(
    "t10k-labels-idx1-ubyte",
    8,
    (10_000,),
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
_FILES = (_TRAIN_IMAGES, _TRAIN_LABELS, _TEST_IMAGES, _TEST_LABELS)


class Unavailable(HwoptError):
    """The files are on no disk and could not be downloaded."""


def load(root: Path) -> DataSet:
    """Load it from ``root``/fashion-mnist, else Debian's package, else download it there.

    Raises:
        Unavailable: if the files are nowhere and cannot be downloaded.
        HwoptError: if a file is damaged.
    """
    folder = installed(root) or _downloaded(root / "fashion-mnist")
    train = _read(folder, _TRAIN_IMAGES), _read(folder, _TRAIN_LABELS).long()
    test = _read(folder, _TEST_IMAGES), _read(folder, _TEST_LABELS).long()
    return image_data_set("fashion-mnist", train, test, CLASS_NAMES)


def installed(root: Path) -> Path | None:
    """Return the folder that has all files: ``root``/fashion-mnist, Debian's, or None."""
    for folder in (root / "fashion-mnist", DEBIAN_FOLDER):
        if all(_path(folder, file) for file in _FILES):
            return folder
    return None


def _downloaded(folder: Path) -> Path:
    """Fetch into ``folder`` what it lacks."""
    for file in _FILES:
        if not _path(folder, file):
            _download(file, folder)
    return folder


def _path(folder: Path, file: _File) -> Path | None:
    """Return the path of a file, compressed or not, or None."""
    for path in (folder / f"{file.name}.gz", folder / file.name):
        if path.is_file():
            return path
    return None


def _download(file: _File, folder: Path) -> None:
    """Fetch one file from the first mirror that has it as published, and put it into ``folder``."""
    failures = []
    for mirror in MIRRORS:
        url = f"{mirror}{file.name}.gz"
        try:
            with urllib.request.urlopen(url, timeout=20) as response:
                # Compression makes the files smaller; a page in their place may be of any size.
                packed = response.read(file.size + 4096)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            failures.append(f"{url}: {getattr(error, 'reason', error)}")
            continue
        if _content(packed, file) is None:
            failures.append(f"{url} is not the published file")
            continue
        with files.atomic_file(folder / f"{file.name}.gz") as temporary:
            temporary.write_bytes(packed)
        return
    raise Unavailable(
        f"fashion-mnist is not on this machine and could not be downloaded ({failures[0]}): run "
        "`apt-get install dataset-fashion-mnist`, or put the four *-ubyte.gz files of "
        f"github.com/zalandoresearch/fashion-mnist into {folder}"
    )


def _read(folder: Path, file: _File) -> Tensor:
    """Return the values of a file as a uint8 tensor."""
    path = _path(folder, file)
    if path is None:
        raise HwoptError(f"{folder / file.name} has just vanished; run again")
    content = _content(path.read_bytes(), file)
    if content is None:
        raise HwoptError(f"{path} is not the published file (its SHA-256 differs); delete it")
    values = np.frombuffer(content, dtype=np.uint8, offset=file.header)
    # Copied because torch warns about memory that cannot be written.
    return torch.from_numpy(values.copy()).view(file.shape)


def _content(packed: bytes, file: _File) -> bytes | None:
    """Return a file's bytes, uncompressed, or None if they are not the published ones."""
    content = packed
    if packed.startswith(b"\x1f\x8b"):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
                content = stream.read(file.size + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return None
    return content if hashlib.sha256(content).hexdigest() == file.sha256 else None
