"""Batches of a data set: slices where it lies in memory, stacked items elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hwopt.errors import HwoptError, check_same_names

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.data import Dataset


class Batch(NamedTuple):
    """Some samples.

    Attributes:
        inputs: what a model takes: one tensor, a tuple of them in order, or a dictionary by names,
            all with the samples first; deeper nesting is kept as it is.
        targets: what they stand for, of any nesting; None where samples have no targets.
    """

    inputs: Any
    targets: Any


def batch(dataset: Dataset[Any], indices: Tensor) -> Batch:
    """Return the samples at ``indices``, an int64 vector.

    A data set that has a method ``batch(indices)`` of its own, which returns inputs and targets, is
    asked for it; it is the way to be fast.

    >>> import torch
    >>> from hwopt import data
    >>> inputs, labels = batch(data.load("digits").test, torch.tensor([0, 5]))
    >>> inputs.shape, inputs.dtype, labels.dtype
    (torch.Size([2, 1, 28, 28]), torch.float32, torch.int64)
    """
    import torch
    from torch.utils.data import Subset, TensorDataset

    if hasattr(dataset, "batch"):
        return Batch(*dataset.batch(indices))
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) <= 2:
        return as_batch([tensor[indices] for tensor in dataset.tensors])
    if isinstance(dataset, Subset):
        return batch(dataset.dataset, torch.as_tensor(dataset.indices)[indices])
    items = [as_batch(dataset[i]) for i in indices.tolist()]
    return Batch(_stack([item.inputs for item in items]), _stack([item.targets for item in items]))


def batches(
    dataset: Dataset[Any], batch_size: int, limit: int | None = None, seed: int | None = None
) -> Iterator[Batch]:
    """Yield the samples, at most ``limit`` of them.

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


def as_batch(item: Any) -> Batch:
    """Return one item of a data set, or a batch, as inputs and targets.

    A pair is inputs and targets; a tensor or a dictionary is inputs without targets. Several inputs
    in order without targets are ``((first, second), None)``.

    Raises:
        HwoptError: if it is neither.
    """
    import torch

    if isinstance(item, tuple | list):
        if len(item) == 2:
            return Batch(*item)
        if len(item) == 1:
            return Batch(item[0], None)
    elif isinstance(item, torch.Tensor | dict):
        return Batch(item, None)
    found = f"{len(item)} things" if isinstance(item, tuple | list) else type(item).__name__
    raise HwoptError(
        f"an item of the data is {found}: a pair of inputs and targets is needed, or inputs alone "
        "as one tensor or a dictionary; several inputs in order are ((first, second), targets)"
    )


def samples_in(inputs: Any) -> int:
    """Return how many samples inputs have.

    >>> import torch
    >>> samples_in({"ids": torch.zeros(3, 7), "mask": torch.zeros(3, 7)})
    3
    """
    return len(leaves(inputs)[0])


def leaves(inputs: Any, names: Iterable[str] = ()) -> list[Tensor]:
    """Return the tensors of inputs, in their order.

    Args:
        inputs: of a batch.
        names: the order of a dictionary, such as ``graph.inputs``; by default that of its keys.

    Raises:
        HwoptError: if a dictionary has other names than those that are given.
    """
    wanted = list(names)
    if isinstance(inputs, dict):
        if wanted:
            check_same_names("input", inputs, wanted)
            inputs = {name: inputs[name] for name in wanted}
        return [leaf for one in inputs.values() for leaf in leaves(one)]
    if isinstance(inputs, tuple | list):
        return [leaf for one in inputs for leaf in leaves(one)]
    return [inputs]


def run_model(model: nn.Module, inputs: Any) -> Any:
    """Return what a model gives for the inputs of a batch.

    One tensor is its only argument, those of a tuple are in order, those of a dictionary by name.

    >>> import torch
    >>> run_model(torch.nn.Bilinear(2, 2, 1), (torch.ones(3, 2), torch.ones(3, 2))).shape
    torch.Size([3, 1])
    """
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def _stack(items: Sequence[Any]) -> Any:
    """Return many of one nesting as one of that nesting, the samples first; numbers as tensors."""
    import numpy as np
    import torch

    first = items[0]
    if first is None:
        return None
    if isinstance(first, dict):
        return {key: _stack([item[key] for item in items]) for key in first}
    if isinstance(first, tuple | list):
        return tuple(_stack(part) for part in zip(*items, strict=True))
    if isinstance(first, torch.Tensor):
        return torch.stack(list(items))
    return torch.as_tensor(np.stack(items) if isinstance(first, np.ndarray) else items)
