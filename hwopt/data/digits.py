"""Handwritten digits that come with scikit-learn: small, and always at hand."""

from __future__ import annotations

import torch
from torch.nn import functional

from hwopt.data.dataset import DataSet
from hwopt.data.tensors import image_data_set

_TEST_SAMPLES = 360


def load(note: str | None = None) -> DataSet:
    """Load 1,797 digits, enlarged from 8x8 to 28x28 so that they fit Fashion-MNIST's models.

    A fixed random fifth is the test set.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) * (255 / 16)
    images = functional.interpolate(images, (28, 28), mode="bilinear", align_corners=False)
    pixels = images.round().to(torch.uint8)
    labels = torch.from_numpy(digits.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    test, train = order[:_TEST_SAMPLES], order[_TEST_SAMPLES:]
    return image_data_set(
        "digits",
        (pixels[train], labels[train]),
        (pixels[test], labels[test]),
        class_names=tuple("0123456789"),
        note=note,
    )
