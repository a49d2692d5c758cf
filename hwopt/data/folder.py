"""A folder of images: ``train/<class>/*.png`` and ``test/<class>/*.png``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from hwopt.data.dataset import DataSet
from hwopt.data.tensors import image_data_set
from hwopt.errors import HwoptError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def has_classes(path: Path) -> bool:
    """Return whether a folder has folders in ``train``: of classes, not images."""
    return (path / "train").is_dir() and bool(_folders(path / "train"))


def load(path: Path, image_size: tuple[int, int] | None = None) -> DataSet:
    """Load all images into memory, as bytes, resized to ``image_size`` (height, width).

    The size is the first image's if None. Images are grey where the first one is, else RGB.
    The classes are the names of the folders in ``train``, sorted. A folder ``validation`` is
    used if there is one.

    Raises:
        HwoptError: if folders are missing or empty, differ in their classes, or an image cannot
            be read.
    """
    class_names = tuple(sorted(entry.name for entry in _folders(path / "train")))
    if len(class_names) < 2:
        raise HwoptError(f"{path / 'train'} needs two folders of images or more, one a class")
    first = next(iter(_images(path / "train" / class_names[0])))
    grey = open_image(first).mode in ("1", "L", "I", "I;16")
    if image_size is None:
        width, height = open_image(first).size
        image_size = (height, width)
    splits = {
        split: _load_split(path / split, class_names, image_size, grey)
        for split in ("train", "test", "validation")
        if split != "validation" or (path / split).is_dir()
    }
    return image_data_set(
        path.name, splits["train"], splits["test"], class_names, splits.get("validation")
    )


def _load_split(
    path: Path, class_names: tuple[str, ...], image_size: tuple[int, int], grey: bool
) -> tuple[Tensor, Tensor]:
    """Return images uint8 (N, C, H, W) and labels int64 (N,) of one split."""
    unknown = {entry.name for entry in _folders(path)} - set(class_names)
    if unknown:
        raise HwoptError(f"{path} has classes that train has not: {', '.join(sorted(unknown))}")
    images, labels = [], []
    for label, class_name in enumerate(class_names):
        if not (path / class_name).is_dir():
            continue
        for file in _images(path / class_name):
            images.append(_pixels(file, image_size, grey))
            labels.append(label)
    if not images:
        raise HwoptError(f"{path} has no images in folders named after the classes")
    return torch.from_numpy(np.stack(images)), torch.tensor(labels)


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        raise HwoptError(
            f"{path} does not exist: a data folder has train/<class>/ and test/<class>/"
        )
    return [entry for entry in path.iterdir() if entry.is_dir()]


def _images(path: Path) -> list[Path]:
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    if not found:
        raise HwoptError(f"{path} has no images ({', '.join(SUFFIXES)})")
    return found


def open_image(file: Path) -> Image.Image:
    """Return an image, read whole.

    Raises:
        HwoptError: if it cannot be.
    """
    try:
        image = Image.open(file)
        image.load()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise HwoptError(f"{file} cannot be read as an image ({error})") from None
    return image


def _pixels(file: Path, image_size: tuple[int, int], grey: bool) -> np.ndarray:
    """Return one image as uint8 (C, H, W)."""
    image = open_image(file).convert("L" if grey else "RGB")
    height, width = image_size
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)
