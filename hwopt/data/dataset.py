"""What a data set is to hwopt: three splits of torch data sets and their description."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from hwopt.errors import HwoptError

if TYPE_CHECKING:
    from torch.utils.data import Dataset

HELD_OUT_EVERY = 12
"""Without a validation split of its own, a set holds out every twelfth training sample."""


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Images and their classes, split for training, choosing and reporting.

    Every split is a map-style ``torch.utils.data.Dataset`` whose items are an input, float32 of
    ``input_shape``, and a label, a whole number below ``num_classes``.
    """

    name: str
    train: Dataset[Any]
    """For training while choices are still made: ``train_full`` without ``validation``."""
    validation: Dataset[Any]
    """For choosing: hyperparameters, passes, when to stop."""
    test: Dataset[Any]
    """For the reported accuracy only."""
    train_full: Dataset[Any]
    """All training samples, for the last training before the report."""
    num_classes: int
    input_shape: tuple[int, ...]
    """Shape of one input without the batch, such as (channels, height, width)."""
    class_names: tuple[str, ...]
    note: str | None = None
    """What the user must be told, such as that another set was loaded instead."""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    """Inputs are ``(pixel / 255 - mean) / std`` per channel; None if not normalised so."""
    content: str | None = None
    """A hash of all samples; None if they are made one by one and may be too many to read."""

    def fingerprint(self) -> list[Any]:
        """Return what tells this set from others: lengths, and the samples where they are known."""
        splits = (self.train, self.validation, self.test, self.train_full)
        lengths = [len(split) for split in splits]  # type: ignore[arg-type]
        return [self.name, lengths, self.num_classes, list(self.input_shape), self.content]


def from_datasets(
    name: str,
    train: Dataset[Any],
    test: Dataset[Any],
    validation: Dataset[Any] | None = None,
    *,
    class_names: tuple[str, ...] | None = None,
) -> DataSet:
    """Make a :class:`DataSet` of map-style torch data sets, with what can be read off them.

    Args:
        name: how reports call it.
        train: all training samples; items are (float32 tensor, whole number).
        test: the samples that the reported accuracy is measured on.
        validation: if None, every twelfth sample of ``train`` is held out for it.
        class_names: if None, all labels are read and the classes are called "0", "1", ...

    Raises:
        HwoptError: if a split is empty or has no length, or its items are no such pairs.

    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> noise = TensorDataset(torch.randn(24, 3, 8, 8), torch.arange(24) % 4)
    >>> data = from_datasets("noise", noise, noise)
    >>> data.num_classes, data.input_shape, len(data.train), len(data.validation)
    (4, (3, 8, 8), 22, 2)
    """
    from torch.utils.data import Subset

    for split, dataset in (("train", train), ("test", test), ("validation", validation)):
        if dataset is not None:
            _check(name, split, dataset)
    train_full = train
    if validation is None:
        rest, held_out = hold_out(len(train))  # type: ignore[arg-type]
        train, validation = Subset(train, rest), Subset(train, held_out)
    if class_names is None:
        count = 1 + max(int(train_full[i][1]) for i in range(len(train_full)))  # type: ignore[arg-type]
        class_names = tuple(str(label) for label in range(count))
    return DataSet(
        name=name,
        train=train,
        validation=validation,
        test=test,
        train_full=train_full,
        num_classes=len(class_names),
        input_shape=tuple(train_full[0][0].shape),
        class_names=class_names,
    )


def hold_out(length: int) -> tuple[list[int], list[int]]:
    """Split the indices of ``length`` samples into (the rest, every twelfth), in order."""
    last = HELD_OUT_EVERY - 1
    rest = [index for index in range(length) if index % HELD_OUT_EVERY != last]
    return rest, list(range(last, length, HELD_OUT_EVERY))


def _check(name: str, split: str, dataset: Dataset[Any]) -> None:
    """Refuse a split that cannot be indexed, or whose first item is no input and label."""
    import torch

    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise HwoptError(
            f"data set {name}: its {split} split has no length or no items; hwopt needs "
            "a map-style torch Dataset"
        )
    length = len(dataset)
    least = HELD_OUT_EVERY if split == "train" else 1
    if length < least:
        raise HwoptError(f"data set {name}: its {split} split has {length} samples, under {least}")
    item = dataset[0]
    pair = isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[0], torch.Tensor)
    if not pair or item[0].dtype != torch.float32:
        raise HwoptError(
            f"data set {name}: the items of its {split} split must be pairs of a float32 tensor "
            "and a label"
        )
