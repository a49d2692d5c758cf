"""Images that lie in memory as bytes and are normalised batch by batch."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hwopt.data.dataset import DataSet, hold_out


class ImageTensors(Dataset[tuple[Tensor, int]]):
    """A data set of uint8 images in memory; items and batches are normalised float32.

    >>> images = torch.full((4, 1, 2, 2), 255, dtype=torch.uint8)
    >>> dataset = ImageTensors(images, torch.zeros(4, dtype=torch.int64), (0.5,), (0.25,))
    >>> dataset[0][0]
    tensor([[[2., 2.],
             [2., 2.]]])
    """

    def __init__(
        self, images: Tensor, labels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        """Take images uint8 (N, C, H, W), labels int64 (N,), and C means and deviations."""
        self.images = images
        self.labels = labels
        # (pixel / 255 - mean) / std as one multiplication and one addition
        self._scale = (1 / (255 * torch.tensor(std))).view(-1, 1, 1)
        self._offset = (-torch.tensor(mean) / torch.tensor(std)).view(-1, 1, 1)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one image, float32 (C, H, W), and its label."""
        return self.images[index] * self._scale + self._offset, int(self.labels[index])

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return images float32 (len(indices), C, H, W) and labels int64."""
        return self.images[indices] * self._scale + self._offset, self.labels[indices]


def statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel of uint8 images, in units of 255.

    They are rounded to four places, so that they can be quoted; a constant channel has
    deviation 1.
    """
    # A histogram of the 256 values is exact and needs no float copy of the images.
    means, deviations = [], []
    values = torch.arange(256, dtype=torch.float64) / 255
    for channel in images.unbind(1):
        weights = torch.bincount(channel.flatten(), minlength=256).double()
        weights /= weights.sum()
        mean = (weights * values).sum()
        deviation = (weights * (values - mean).square()).sum().sqrt()
        means.append(round(mean.item(), 4))
        deviations.append(round(deviation.item(), 4) or 1.0)
    return tuple(means), tuple(deviations)


def image_data_set(
    name: str,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    class_names: tuple[str, ...],
    validation: tuple[Tensor, Tensor] | None = None,
    note: str | None = None,
) -> DataSet:
    """Make a :class:`DataSet` of (uint8 images, int64 labels), normalised by the training set."""
    images, labels = train
    mean, std = statistics(images)
    part = train
    if validation is None:
        # Copied rather than looked up through a Subset: a batch stays one indexing.
        rest, held_out = hold_out(len(images))
        part = images[rest], labels[rest]
        validation = images[held_out], labels[held_out]
    return DataSet(
        name=name,
        train=ImageTensors(*part, mean, std),
        validation=ImageTensors(*validation, mean, std),
        test=ImageTensors(*test, mean, std),
        train_full=ImageTensors(images, labels, mean, std),
        class_names=class_names,
        note=note,
        mean=mean,
        std=std,
        content=_hash(*train, *validation, *test),
    )


def _hash(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
