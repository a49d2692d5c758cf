"""Random changes of training images, done on a whole batch by one gather."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from hwopt import references
from hwopt.errors import unknown_name

Augment = Callable[[Tensor, Generator], Tensor]
"""From images (N, C, H, W) and a random generator to images of the same shape and dtype."""


def shift(images: Tensor, generator: Generator, pixels: int = 2) -> Tensor:
    """Move every image by up to ``pixels`` in both directions; border pixels are repeated.

    >>> images = torch.arange(9.0).view(1, 1, 3, 3)
    >>> shift(images, torch.Generator().manual_seed(1), pixels=1)
    tensor([[[[1., 2., 2.],
              [4., 5., 5.],
              [7., 8., 8.]]]])
    """
    return _gather(images, generator, pixels, mirror=False)


def flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror every other image, by chance, left to right.

    >>> images = torch.tensor([1.0, 2.0]).expand(3, 1, 1, 2)
    >>> flip(images, torch.Generator().manual_seed(0)).flatten(1)
    tensor([[2., 1.],
            [1., 2.],
            [2., 1.]])
    """
    mirrored = _mirrored(images, generator).view(-1, 1, 1, 1)
    return torch.where(mirrored, images.flip(3), images)


def shift_and_flip(images: Tensor, generator: Generator, pixels: int = 2) -> Tensor:
    """Do as :func:`shift`, and mirror every other image, by chance, left to right."""
    return _gather(images, generator, pixels, mirror=True)


NAMES: dict[str, Augment] = {"flip": flip, "shift": shift, "shift-flip": shift_and_flip}


def find(augment: str | Augment | None) -> Augment | None:
    """Return the function for "flip", "shift" or "shift-flip", or what was given.

    A text with a colon is a user's own: ``package.module:callable``.

    Raises:
        HwoptError: on an unknown name, or if there is no such callable.
    """
    if not isinstance(augment, str):
        return augment
    if ":" in augment:
        return references.find(augment, "augmentation")
    if augment not in NAMES:
        raise unknown_name("augmentation", augment, NAMES)
    return NAMES[augment]


def _gather(images: Tensor, generator: Generator, pixels: int, mirror: bool) -> Tensor:
    """Pick rows and columns of every image anew."""
    count, channels, height, width = images.shape
    offsets = torch.randint(-pixels, pixels + 1, (2, count, 1), generator=generator)
    rows = (torch.arange(height) + offsets[0]).clamp_(0, height - 1)
    columns = (torch.arange(width) + offsets[1]).clamp_(0, width - 1)
    if mirror:
        columns = torch.where(_mirrored(images, generator), width - 1 - columns, columns)
    samples = torch.arange(count).view(-1, 1, 1, 1)
    channel = torch.arange(channels).view(-1, 1, 1)
    return images[samples, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _mirrored(images: Tensor, generator: Generator) -> Tensor:
    """Draw which images to mirror: booleans (N, 1)."""
    return torch.rand(len(images), 1, generator=generator) < 0.5
