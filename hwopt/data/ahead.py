"""Batches that other processes read ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hwopt.data.batches import Batch, batch
from hwopt.errors import HwoptError


class _Batches(Dataset[Batch | HwoptError]):
    def __init__(self, dataset: Dataset[Any], indices: Sequence[Tensor]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Batch | HwoptError:
        try:
            return batch(self.dataset, self.indices[place])
        except HwoptError as error:
            return error  # raised in a worker it would come with a traceback as its text


def read_ahead(
    dataset: Dataset[Any], indices: Sequence[Tensor], workers: int, generator: torch.Generator
) -> Iterator[Batch]:
    """Yield the batches at these indices, in order; see :func:`hwopt.data.batch`.

    Args:
        dataset: whose samples.
        indices: an int64 vector a batch.
        workers: processes that read; 0 reads in this one, when a batch is asked for.
        generator: of the seeds of the workers; is not used without.

    Raises:
        HwoptError: if a sample cannot be read.

    >>> from hwopt import data
    >>> test, order = data.load("digits").test, torch.arange(6).split(4)
    >>> [len(labels) for _, labels in read_ahead(test, order, 0, torch.Generator())]
    [4, 2]
    """
    if not workers:
        yield from (batch(dataset, one) for one in indices)
        return
    # A batch is an item: the loader puts nothing together.
    batches = _Batches(dataset, indices)
    for one in DataLoader(batches, batch_size=None, num_workers=workers, generator=generator):
        if isinstance(one, HwoptError):
            raise one
        yield Batch(*one)
