"""Second moments of what layers read, over batches of data."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_map

from hwopt import data
from hwopt.data import leaves, run_model
from hwopt.errors import HwoptError
from hwopt.graph import Batch, Value
from hwopt.graph.cleanup import remove_unused
from hwopt.passes.channels.readers import Reader

if TYPE_CHECKING:
    from hwopt.graph import Graph
    from hwopt.graph.module import GraphModule
    from hwopt.passes.base import Context

#: Shares of the mean variance of the columns, of which some is added to each: our choice.
RIDGES = (1e-4, 1e-2, 1.0)
#: Samples that run together.
_AT_ONCE = 16


class Moments:
    """Sums of products of columns, kept in float64: of ``a`` with itself and with ``b``.

    >>> moments = Moments()
    >>> moments.add(torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [6.0]]))
    >>> moments.of_first(), moments.of_both(), moments.variance()
    (tensor([[1.]], dtype=torch.float64), tensor([[2.]], dtype=torch.float64), 4.0)
    """

    def __init__(self) -> None:
        self.rows = 0
        self._sums: list[torch.Tensor] = []
        self._origins: list[torch.Tensor] = []

    def add(self, a: torch.Tensor, b: torch.Tensor) -> None:
        """Take rows into account: ``a`` of shape (rows, m), ``b`` of (rows, n)."""
        a, b = a.float(), b.float()
        # Products of what is far from zero would lose what varies.
        self._origins = self._origins or [a.mean(0), b.mean(0)]
        a, b = a - self._origins[0], b - self._origins[1]
        found = [a.T @ a, a.T @ b, a.sum(0), b.sum(0), (b**2).sum()]
        sums = self._sums or [torch.zeros_like(one, dtype=torch.float64) for one in found]
        self._sums = [total.add_(one) for total, one in zip(sums, found, strict=True)]
        self.rows += len(a)

    def beside(self) -> Moments:
        """Return empty moments that can be added to these."""
        other = Moments()
        other._origins = self._origins
        return other

    def plus(self, other: Moments) -> Moments:
        """Return the moments of the rows of both; one was made ``beside`` the other."""
        both = self.beside()
        both.rows = self.rows + other.rows
        both._sums = [one + two for one, two in zip(self._sums, other._sums, strict=True)]
        return both

    def of_first(self) -> torch.Tensor:
        """Return the covariances of the columns of ``a``, shape (m, m)."""
        gram, _, a, *_ = self._sums
        return gram / self.rows - torch.outer(a, a) / self.rows**2

    def of_both(self) -> torch.Tensor:
        """Return the covariances of columns of ``a`` and of ``b``, shape (m, n)."""
        _, cross, a, b, _ = self._sums
        return cross / self.rows - torch.outer(a, b) / self.rows**2

    def means(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the means of all columns, shapes (m,) and (n,)."""
        _, _, a, b, _ = self._sums
        return self._origins[0] + a / self.rows, self._origins[1] + b / self.rows

    def variance(self) -> float:
        """Return the sum of the variances of the columns of ``b``."""
        *_, b, squares = self._sums
        return max(0.0, float(squares / self.rows - ((b / self.rows) ** 2).sum()))

    def error(self, slope: torch.Tensor, offset: torch.Tensor) -> float:
        """Return the mean of ``|b - a slope - offset|^2``; slope (m, n), offset (n,)."""
        explained = (slope * (2 * self.of_both() - self.of_first() @ slope)).sum()
        a, b = self.means()
        return self.variance() - float(explained) + float(((b - a @ slope - offset) ** 2).sum())

    def check(self, where: str) -> None:
        """Refuse sums that are no numbers.

        Raises:
            HwoptError: naming the layer.
        """
        if not all(one.isfinite().all() for one in self._sums):
            raise HwoptError(
                f"least squares: at {where} some values are NaN or infinite: look for a sample "
                "that is none, or a number format that is too narrow"
            )


def with_ridge(covariances: torch.Tensor, ridge: float = RIDGES[0]) -> torch.Tensor:
    """Return covariances that can be inverted, whatever the data was."""
    added = ridge * covariances.diagonal().mean() + 1e-12
    return covariances + added * torch.eye(len(covariances), dtype=covariances.dtype)


def inputs_of(graph: Graph, context: Context, batches: int) -> list[Any]:
    """Return what a network is fed with, in pieces of batches; ``batches`` of 0 takes all.

    Raises:
        HwoptError: if there is no data.
    """
    given = itertools.islice(context.batches(), batches or None) if context.batches else ()
    found = [context.task.feed(data.Batch(*one).inputs) for one in given]
    if not found:
        raise HwoptError(
            "least squares need data: run the pass in hwopt optimize, give --data or "
            "Context(batches=...)"
        )
    if not all(one.shape[:1] == (Batch(1),) for one in graph.inputs.values()):
        return [tree_map(_channels_last, batch) for batch in found]
    starts = [(batch, n) for batch in found for n in range(0, len(leaves(batch)[0]), _AT_ONCE)]
    return [
        tree_map(lambda one, n=n: _channels_last(one[n : n + _AT_ONCE]), batch)
        for batch, n in starts
    ]


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """Return images as depthwise convolutions on a CPU are fast with."""
    is_image = tensor.dim() == 4
    return tensor.contiguous(memory_format=torch.channels_last) if is_image else tensor


def _quick_module(graph: Graph) -> GraphModule:
    module = graph.to_torch().eval()
    for parameter in module.parameters():
        parameter.data = _channels_last(parameter.data)
    return module


def values_of(
    graph: Graph, values: Sequence[Value], inputs: list[Any]
) -> Iterator[list[torch.Tensor]]:
    """Yield values of a graph for every batch; what they do not need is not run."""
    part = graph.copy()
    part.states, part.history = {}, ()
    part.outputs = {f"value_{n}": value for n, value in enumerate(values)}
    remove_unused(part)
    module = _quick_module(part)
    for batch in inputs:
        with torch.no_grad():
            found = run_model(module, batch)
        yield list(found) if len(values) > 1 else [found]


def read_by(graph: Graph, readers: Sequence[Reader], inputs: list[Any]) -> dict[str, Moments]:
    """Return the moments of what every reader reads and of what comes out at its end, by name."""
    moments = {reader.node.name: Moments() for reader in readers}
    module = _quick_module(graph)
    operations = {one.name: one for one in module.operations}
    waiting: dict[str, torch.Tensor] = {}

    def read(reader: Reader, operands: dict[str, Any]) -> None:
        waiting[reader.node.name] = reader.inputs(operands["input"])

    def ended(reader: Reader, result: Any) -> None:
        moments[reader.node.name].add(waiting.pop(reader.node.name), reader.outputs(result))

    for reader in readers:
        operations[reader.node.name].register_forward_pre_hook(
            lambda _, given, reader=reader: read(reader, given[0])
        )
        operations[reader.end.node].register_forward_hook(
            lambda _, given, result, reader=reader: ended(reader, result)
        )
    with torch.no_grad():
        for batch in inputs:
            run_model(module, batch)
    for name, found in moments.items():
        found.check(name)
    return moments
