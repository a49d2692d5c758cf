"""A folder of images: ``train/<class>/*.png`` and ``test/<class>/*.png``."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from hwopt.data.dataset import DataSet, hold_out
from hwopt.data.tensors import image_data_set, statistics
from hwopt.errors import HwoptError

#: Bytes of images that are kept in memory, at the most.
MEMORY = 2**30
#: Training images whose mean and deviation are taken where not all of them are kept.
_FOR_STATISTICS = 2000
#: A file, and its label.
Labelled = tuple[Path, int]
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def has_classes(path: Path) -> bool:
    """Return whether a folder has folders in ``train``: of classes, not images."""
    return (path / "train").is_dir() and bool(_folders(path / "train"))


def load(path: Path, image_size: tuple[int, int] | None = None) -> DataSet:
    """Return the images of a folder, with the classes that its folders are named after.

    They are resized to ``image_size`` (height, width); the size is the first image's if None.
    Images are grey where the first one is, else RGB. The classes are the names of the folders in
    ``train``, sorted. A folder ``validation`` is used if there is one.

    Up to :data:`MEMORY` bytes of them are read into memory; more are read one by one, whenever they
    are asked for, and normalised by a part of the training images.

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
        split: _labelled(path / split, class_names)
        for split in ("train", "test", "validation")
        if split != "validation" or (path / split).is_dir()
    }
    count = sum(len(split) for split in splits.values())
    if count * math.prod(image_size) * (1 if grey else 3) > MEMORY:
        return _read_one_by_one(path.name, splits, class_names, image_size, grey)
    loaded = {name: _read(split, image_size, grey) for name, split in splits.items()}
    return image_data_set(
        path.name, loaded["train"], loaded["test"], class_names, loaded.get("validation")
    )


class ImageFolder(Dataset[tuple[Tensor, int]]):
    """Images of files with labels, read one by one: float32 (channels, height, width) and a label.

    Args:
        labelled: files and their labels.
        size: (height, width) that images are resized to.
        grey: one channel in place of three.
        mean, std: a number a channel, of images in [0, 1].
    """

    def __init__(
        self,
        labelled: list[Labelled],
        size: tuple[int, int],
        grey: bool,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        self.labelled, self.size, self.grey = labelled, size, grey
        self._scale = (1 / (255 * torch.tensor(std))).view(-1, 1, 1)
        self._offset = (-torch.tensor(mean) / torch.tensor(std)).view(-1, 1, 1)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labelled)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one image and its label."""
        file, label = self.labelled[index]
        pixels = torch.from_numpy(_pixels(file, self.size, self.grey).copy())
        return pixels * self._scale + self._offset, label


def _read_one_by_one(
    name: str,
    splits: dict[str, list[Labelled]],
    class_names: tuple[str, ...],
    size: tuple[int, int],
    grey: bool,
) -> DataSet:
    """Return a data set that keeps no image; it is normalised by some of those of training."""
    full = splits["train"]
    some = full[:: -(-len(full) // _FOR_STATISTICS)]
    mean, std = statistics(_read(some, size, grey)[0])

    def images(labelled: list[Labelled]) -> ImageFolder:
        return ImageFolder(labelled, size, grey, mean, std)

    train, validation = full, splits.get("validation")
    if validation is None:
        rest, held_out = hold_out(len(full))
        train, validation = ([full[place] for place in places] for places in (rest, held_out))
    return DataSet(
        name=name,
        train=images(train),
        validation=images(validation),
        test=images(splits["test"]),
        train_full=images(full),
        class_names=class_names,
        mean=mean,
        std=std,
    )


def _labelled(path: Path, class_names: tuple[str, ...]) -> list[Labelled]:
    """Return the files of one split and their labels."""
    unknown = {entry.name for entry in _folders(path)} - set(class_names)
    if unknown:
        raise HwoptError(f"{path} has classes that train has not: {', '.join(sorted(unknown))}")
    found = [
        (file, label)
        for label, class_name in enumerate(class_names)
        if (path / class_name).is_dir()
        for file in _images(path / class_name)
    ]
    if not found:
        raise HwoptError(f"{path} has no images in folders named after the classes")
    return found


def _read(labelled: list[Labelled], size: tuple[int, int], grey: bool) -> tuple[Tensor, Tensor]:
    """Return images uint8 (N, C, H, W) and labels int64 (N,)."""
    images = [_pixels(file, size, grey) for file, _ in labelled]
    return torch.from_numpy(np.stack(images)), torch.tensor([label for _, label in labelled])


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
