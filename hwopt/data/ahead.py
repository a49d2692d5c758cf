"""Batches that other processes read ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hwopt.data.batches import Batch, batch


class _Batches(Dataset[Batch]):
    def __init__(self, dataset: Dataset[Any], indices: Sequence[Tensor]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Batch:
        return batch(self.dataset, self.indices[place])


def read_ahead(
    dataset: Dataset[Any], indices: Sequence[Tensor], workers: int, generator: torch.Generator
) -> Iterator[Batch]:
    """Yield the batches at these indices, in order; see :func:`hwopt.data.batch`.

    Args:
        dataset: whose samples.
        indices: an int64 vector a batch.
        workers: processes that read; 0 reads in this one, when a batch is asked for.
        generator: of the seeds of the workers; is not used without.

    >>> from hwopt import data
    >>> test, order = data.load("digits").test, torch.arange(6).split(4)
    >>> [len(labels) for _, labels in read_ahead(test, order, 0, torch.Generator())]
    [4, 2]
    """
    batches = _Batches(dataset, indices)
    if not workers:
        yield from (batches[place] for place in range(len(batches)))
        return
    # A batch is an item: the loader puts nothing together.
    loader = DataLoader(batches, batch_size=None, num_workers=workers, generator=generator)
    for one in loader:
        yield Batch(*one)
