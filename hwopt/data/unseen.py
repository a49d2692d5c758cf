"""Anomalies from classes: one that training never sees is strange in the test."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hwopt.data.batches import Batch, as_batch, batch
from hwopt.data.dataset import DataSet
from hwopt.errors import unknown_name


class Relabelled(Dataset[Any]):
    """Some samples of a data set, whose targets are 1 where they are strange and 0 elsewhere.

    Args:
        dataset: with classes as targets.
        places: of the samples.
        strange: the class.
    """

    def __init__(self, dataset: Dataset[Any], places: Tensor, strange: int) -> None:
        self.dataset, self.places, self.strange = dataset, places, strange

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.places)

    def __getitem__(self, index: int) -> Any:
        """Return one sample."""
        inputs, label = as_batch(self.dataset[int(self.places[index])])
        return inputs, int(int(label) == self.strange)

    def batch(self, indices: Tensor) -> Batch:
        """Return the samples at ``indices``."""
        inputs, labels = batch(self.dataset, self.places[indices])
        return Batch(inputs, (labels == self.strange).long())


def without_class(data: DataSet, name: str) -> DataSet:
    """Return a data set for anomalies: training has all classes but one, which is strange.

    The validation split and the test set have all classes.

    Args:
        data: with classes.
        name: of the class.

    Raises:
        HwoptError: if there is no such class.

    >>> from hwopt.data import load
    >>> digits = without_class(load("digits"), "7")
    >>> len(digits.train), len(digits.test)
    (1179, 360)
    """
    if name not in data.class_names:
        raise unknown_name(f"class of {data.name}", name, data.class_names)
    strange = data.class_names.index(name)

    def of(split: Dataset[Any], keeps: bool) -> Relabelled:
        length: int = len(split)  # type: ignore[arg-type]
        places = torch.arange(length)
        if not keeps:
            places = places[batch(split, places).targets != strange]
        return Relabelled(split, places, strange)

    return dataclasses.replace(
        data,
        name=f"{data.name} without {name}",
        train=of(data.train, keeps=False),
        train_full=of(data.train_full, keeps=False),
        validation=of(data.validation, keeps=True),
        test=of(data.test, keeps=True),
        class_names=(),
    )
