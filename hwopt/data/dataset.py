"""What a data set is to hwopt: splits of torch data sets and their description."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

from hwopt.data.batches import Batch, as_batch, batch, leaves
from hwopt.errors import HwoptError

if TYPE_CHECKING:
    from torch.utils.data import Dataset

HELD_OUT_EVERY = 12
"""Without a validation split of its own, a set holds out every twelfth training sample."""


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Samples, split for training, choosing and reporting.

    Every split is a map-style ``torch.utils.data.Dataset`` whose items are pairs of inputs and
    targets, or inputs alone; see :func:`hwopt.data.as_batch`.
    """

    name: str
    train: Dataset[Any]
    """For training while choices are still made: ``train_full`` without ``validation``."""
    validation: Dataset[Any]
    """For choosing: hyperparameters, passes, when to stop."""
    test: Dataset[Any]
    """For the reported quality only."""
    train_full: Dataset[Any]
    """All training samples, for the last training before the report."""
    class_names: tuple[str, ...] = ()
    """Of targets that are classes; empty where they are not."""
    note: str | None = None
    """What the user must be told, such as that another set was loaded instead."""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    """Inputs are ``(pixel / 255 - mean) / std`` per channel; None if not normalised so."""
    content: str | None = None
    """A hash of all samples; None if they are made one by one and may be too many to read."""

    @property
    def num_classes(self) -> int | None:
        """How many classes targets are of; None where they are none."""
        return len(self.class_names) or None

    @functools.cached_property
    def example(self) -> Batch:
        """The first sample, as a batch of one."""
        import torch

        return batch(self.train_full, torch.tensor([0]))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the only input without the batch, such as (channels, height, width).

        Raises:
            HwoptError: if samples have several inputs.
        """
        shapes = [tuple(one.shape[1:]) for one in leaves(self.example.inputs)]
        if len(shapes) != 1:
            raise HwoptError(f"samples of {self.name} have {len(shapes)} inputs, not one")
        return shapes[0]

    def fingerprint(self) -> list[Any]:
        """Return what tells this set from others: lengths, and the samples where they are known."""
        splits = (self.train, self.validation, self.test, self.train_full)
        lengths = [len(split) for split in splits]  # type: ignore[arg-type]
        shapes = [list(one.shape[1:]) for one in leaves(self.example.inputs)]
        return [self.name, lengths, self.num_classes, shapes, self.content]


def from_datasets(
    name: str,
    train: Dataset[Any],
    test: Dataset[Any] | None = None,
    validation: Dataset[Any] | None = None,
    *,
    class_names: tuple[str, ...] | None = None,
) -> DataSet:
    """Make a :class:`DataSet` of map-style torch data sets, with what can be read off them.

    Args:
        name: how reports call it.
        train: all training samples; see :func:`hwopt.data.as_batch` for what items are.
        test: the samples that the reported quality is measured on; if None, every twelfth sample of
            ``train`` is held out for it.
        validation: if None, every twelfth sample of ``train`` is held out for it.
        class_names: if None, and targets are single whole numbers, the data set's ``classes`` (as
            torchvision's have them), else the largest of its ``targets``, else that of all samples,
            which are then read; then they are called "0", "1", .... Give () where such numbers are
            no classes.

    Raises:
        HwoptError: if a split is empty or has no length, or its items are no samples.

    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> noise = TensorDataset(torch.randn(24, 3, 8, 8), torch.arange(24) % 4)
    >>> data = from_datasets("noise", noise, noise)
    >>> data.num_classes, data.input_shape, len(data.train), len(data.validation)
    (4, (3, 8, 8), 22, 2)
    >>> unlabelled = from_datasets("noise", TensorDataset(torch.randn(36, 8)))
    >>> unlabelled.num_classes, len(unlabelled.train), len(unlabelled.test)
    (None, 31, 3)
    """
    from torch.utils.data import Subset

    for split, dataset in (("train", train), ("test", test), ("validation", validation)):
        if dataset is not None:
            _check(name, split, dataset)
    if test is None:
        rest, held_out = hold_out(len(train))  # type: ignore[arg-type]
        train, test = Subset(train, rest), Subset(train, held_out)
    train_full = train
    if validation is None:
        rest, held_out = hold_out(len(train))  # type: ignore[arg-type]
        train, validation = Subset(train, rest), Subset(train, held_out)
    return DataSet(
        name=name,
        train=train,
        validation=validation,
        test=test,
        train_full=train_full,
        class_names=_class_names(train_full) if class_names is None else class_names,
    )


def _class_names(dataset: Dataset[Any]) -> tuple[str, ...]:
    """Return names for targets that are single whole numbers; none for others."""
    import torch

    if not _is_class(as_batch(dataset[0]).targets):
        return ()
    whole: Any = dataset
    while isinstance(whole, torch.utils.data.Subset):
        whole = whole.dataset
    # What changes targets on the way makes other ones than the data set has.
    is_plain = getattr(whole, "target_transform", None) is None
    known = getattr(whole, "classes", None)
    if is_plain and isinstance(known, list | tuple) and known:
        return tuple(one if isinstance(one, str) else _joined(one) for one in known)
    targets: Any = getattr(whole, "targets", None)
    if isinstance(whole, torch.utils.data.TensorDataset):
        targets = whole.tensors[1]
    elif not is_plain or targets is None or not all(map(_is_class, targets)):
        length: int = len(dataset)  # type: ignore[arg-type]
        targets = [int(as_batch(dataset[place]).targets) for place in range(length)]
    largest = int(torch.as_tensor(targets).max())
    return tuple(str(label) for label in range(largest + 1))


def _joined(names: Any) -> str:
    """Return the names of one class as one; torchvision's ImageNet has several of each."""
    return ", ".join(map(str, names)) if isinstance(names, list | tuple) else str(names)


def _is_class(target: Any) -> bool:
    import numpy as np
    import torch

    if isinstance(target, torch.Tensor):
        return target.numel() == 1 and not target.is_floating_point() and target.dtype != torch.bool
    return isinstance(target, int | np.integer) and not isinstance(target, bool)


def hold_out(length: int) -> tuple[list[int], list[int]]:
    """Split the indices of ``length`` samples into (the rest, every twelfth), in order."""
    last = HELD_OUT_EVERY - 1
    rest = [index for index in range(length) if index % HELD_OUT_EVERY != last]
    return rest, list(range(last, length, HELD_OUT_EVERY))


def _check(name: str, split: str, dataset: Dataset[Any]) -> None:
    """Refuse a split that cannot be indexed, or whose first item is no sample."""
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
    try:
        first = batch(dataset, torch.tensor([0]))
    except HwoptError as error:
        raise HwoptError(f"data set {name}: its {split} split: {error}") from None
    for one in leaves(first.inputs):
        if not isinstance(one, torch.Tensor) or one.dtype == torch.float64:
            found = one.dtype if isinstance(one, torch.Tensor) else type(one).__name__
            raise HwoptError(
                f"data set {name}: the inputs of its {split} split are {found}: tensors that the "
                "model takes are needed, such as float32"
            )
