"""Photographs without labels, read one by one: a folder of any size is never read whole."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hwopt.data.dataset import HELD_OUT_EVERY, DataSet, from_datasets, hold_out
from hwopt.data.folder import SUFFIXES, open_image
from hwopt.errors import HwoptError


@dataclass(frozen=True)
class ImageOptions:
    """What can be said of a folder of images: ``photos{crops=4,mean=[0.5],std=[0.5]}``.

    Options:
        crops: squares that are cut out of every image, at places and of sizes that its name draws;
            0 takes all of it.
        mean, std: inputs are ``(pixel / 255 - mean) / std``, a number a channel or one for all.
        grey: one channel in place of three.
    """

    crops: int = 0
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    grey: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        for what in (self.mean, self.std):
            if len(what) not in (1, 1 if self.grey else 3):
                raise HwoptError(f"images have {1 if self.grey else 3} channels, not {len(what)}")
        if self.crops < 0 or min(self.std) <= 0:
            raise HwoptError("crops must be at least 0, and std positive")


class ImageFiles(Dataset[Any]):
    """Images of files, or crops of them: float32 (channels, height, width), without targets.

    Args:
        files: one image each.
        size: (height, width) that images and crops are resized to.
        options: see there.
    """

    def __init__(
        self, files: list[Path], size: tuple[int, int], options: ImageOptions | None = None
    ) -> None:
        self.files, self.size, self.options = files, size, options or ImageOptions()

    def __len__(self) -> int:
        """Return the number of images, or of crops."""
        return len(self.files) * max(1, self.options.crops)

    def __getitem__(self, index: int) -> Tensor:
        """Return one image."""
        place, crop = divmod(index, max(1, self.options.crops))
        image = open_image(self.files[place]).convert("L" if self.options.grey else "RGB")
        if self.options.crops:
            image = image.crop(_square(self.files[place], crop, *image.size))
        height, width = self.size
        pixels = torch.from_numpy(np.array(image.resize((width, height))))
        pixels = pixels[None] if self.options.grey else pixels.permute(2, 0, 1)
        mean, std = (
            torch.tensor(one).view(-1, 1, 1) for one in (self.options.mean, self.options.std)
        )
        return (pixels / 255 - mean) / std


def load(path: Path, options: ImageOptions, size: tuple[int, int] | None) -> DataSet:
    """Return the images below a folder, at any depth, without labels.

    Those below ``test/`` are the test, and those below ``validation/`` the validation, where there
    are such folders; else every twelfth image, with all of its crops.

    Args:
        path: of the folder.
        options: see there.
        size: (height, width); the first image's if None.

    Raises:
        HwoptError: if there are not enough images.
    """
    named = [name for name in ("train", "test", "validation") if (path / name).is_dir()]
    files = {name: _shuffled(path / name) for name in named}
    if "train" not in files:
        others = {file for name in named for file in files[name]}
        files["train"] = [file for file in _shuffled(path) if file not in others]
    if not all(files.values()):
        raise HwoptError(
            f"{path} has no images ({', '.join(SUFFIXES)}), or none in test: those with classes "
            "stand in train/<class>/ and test/<class>/, those without in one folder, or in train/ "
            "and test/"
        )
    # Crops of one photograph are alike: all of them are of one split.
    if "test" not in files:
        files["train"], files["test"] = _hold_out(files["train"])
    full = files["train"]
    if "validation" not in files:
        files["train"], files["validation"] = _hold_out(full)
    if size is None:
        width, height = open_image(files["train"][0]).size
        size = (height, width)
    sets = {name: ImageFiles(of, size, options) for name, of in files.items()}
    found = from_datasets(path.name, **sets, class_names=())
    channels = 1 if options.grey else 3
    mean, std = (one * channels if len(one) == 1 else one for one in (options.mean, options.std))
    full_set = ImageFiles(full, size, options)
    return dataclasses.replace(found, train_full=full_set, mean=mean, std=std)


def _hold_out(files: list[Path]) -> tuple[list[Path], list[Path]]:
    if len(files) < HELD_OUT_EVERY:
        raise HwoptError(
            f"{len(files)} images are too few: give {HELD_OUT_EVERY} to train on, so that one is "
            "held out, and others to test"
        )
    rest, held_out = hold_out(len(files))
    return [files[place] for place in rest], [files[place] for place in held_out]


def _shuffled(path: Path) -> list[Path]:
    """Return the images below a folder, in an order that is always the same."""
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    return [files[place] for place in np.random.default_rng(0).permutation(len(files))]


def _square(file: Path, crop: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Return a square of an image, from half of the shorter side to all of it."""
    # By the name: the same on every machine, and in every order.
    digest = hashlib.sha256(f"{file.name} {crop}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    side = int(min(width, height) * random.uniform(0.5, 1.0)) or 1
    left, top = (int(random.integers(0, most - side + 1)) for most in (width, height))
    return left, top, left + side, top + side
