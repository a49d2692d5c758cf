"""Batches of a data set: slices where it lies in memory, stacked items elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import Dataset


def batch(dataset: Dataset[Any], indices: Tensor) -> tuple[Tensor, Tensor]:
    """Return the samples at ``indices``, an int64 vector, as (inputs, labels).

    A data set that has a method ``batch(indices)`` of its own is asked for it; it is the way to
    be fast.

    >>> import torch
    >>> from hwopt import data
    >>> inputs, labels = batch(data.load("digits").test, torch.tensor([0, 5]))
    >>> inputs.shape, inputs.dtype, labels.dtype
    (torch.Size([2, 1, 28, 28]), torch.float32, torch.int64)
    """
    import torch
    from torch.utils.data import Subset, TensorDataset

    if hasattr(dataset, "batch"):
        inputs, labels = dataset.batch(indices)
        return inputs, labels
    if isinstance(dataset, TensorDataset):
        inputs, labels = (tensor[indices] for tensor in dataset.tensors)
        return inputs, labels
    if isinstance(dataset, Subset):
        return batch(dataset.dataset, torch.as_tensor(dataset.indices)[indices])
    items = [dataset[i] for i in indices.tolist()]
    return torch.stack([item[0] for item in items]), torch.as_tensor([item[1] for item in items])


def batches(
    dataset: Dataset[Any], batch_size: int, limit: int | None = None, seed: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the samples as (inputs, labels), at most ``limit`` of them.

    In the order in which they lie, or, with a seed, in one that is drawn at random: what looks at
    few of them needs it, for folders lie class by class.

    >>> from hwopt import data
    >>> [len(labels) for _, labels in batches(data.load("digits").test, 100, limit=250)]
    [100, 100, 50]
    """
    import torch

    length: int = len(dataset)  # type: ignore[arg-type]
    order = torch.arange(length)
    if seed is not None:
        order = torch.randperm(length, generator=torch.Generator().manual_seed(seed))
    order = order[:limit]
    for start in range(0, len(order), batch_size):
        yield batch(dataset, order[start : start + batch_size])
