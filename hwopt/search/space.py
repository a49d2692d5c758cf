"""What a search chooses from: the choices of passes, as one typed space."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwopt.errors import HwoptError, unknown_name
from hwopt.passes import parse
from hwopt.passes.base import OptionValue

if TYPE_CHECKING:
    from hwopt.graph import Graph
    from hwopt.passes import Context, Pass

Choices = Mapping[str, OptionValue]
"""A point of a space: a value for each dimension."""


@dataclass(frozen=True)
class Space:
    """The choices of several passes, one after the other.

    Attributes:
        passes: in the order in which they are applied.
        dimensions: values by name; the first of each leaves the network as it is.

    >>> import torch, hwopt
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(),
    ...     torch.nn.Conv2d(8, 8, 3), torch.nn.Flatten(), torch.nn.Linear(128, 4))
    >>> graph = hwopt.import_model(net, torch.zeros(1, 3, 8, 8))
    >>> space = Space.of(graph, ["prune-channels{multiple=4}"], hwopt.passes.Context())
    >>> space.dimensions
    {'prune-channels.0': (1.0, 0.5), 'prune-channels.2': (1.0, 0.5)}
    >>> space.text({"prune-channels.0": 0.5, "prune-channels.2": 1.0})
    'prune-channels{ratio=0.0,ratios=[0:0.5],multiple=4}'
    """

    passes: tuple[Pass, ...]
    dimensions: Mapping[str, tuple[OptionValue, ...]]

    @classmethod
    def of(
        cls,
        graph: Graph,
        passes: Sequence[str],
        context: Context,
        *,
        levels: int = 8,
        only: Mapping[str, Sequence[OptionValue]] | None = None,
        others: Mapping[str, tuple[OptionValue, ...]] | None = None,
    ) -> Space:
        """Find the choices that a graph leaves.

        Args:
            graph: what every candidate begins with.
            passes: texts; what of a pass is chosen replaces its options.
            context: what passes may ask for.
            levels: values of a dimension at the most.
            only: for some dimensions, the values that are allowed; what leaves the network as it
                is always is.
            others: dimensions that no pass makes something of.

        Raises:
            HwoptError: if two passes have the same name, there is nothing to choose, or ``only``
                names what there is not.
        """
        parsed = tuple(one for text in passes for one in parse(text))
        names = [one.name for one in parsed]
        for name in names:
            if names.count(name) > 1:
                raise HwoptError(f"the space has {name} twice: give each pass once")
        found: dict[str, tuple[OptionValue, ...]] = {}
        for one in parsed:
            found |= one.dimensions(graph, context, levels)
        found |= others or {}
        for name, values in (only or {}).items():
            if name not in found:
                raise unknown_name("dimension of the space", name, found)
            found[name] = _restricted(name, found[name], values)
        found = {name: values for name, values in found.items() if len(values) > 1}
        if not found:
            raise HwoptError(f"there is nothing to choose: {', '.join(names)} find no candidates")
        return cls(parsed, found)

    @property
    def size(self) -> int:
        """How many points there are."""
        return math.prod(len(values) for values in self.dimensions.values())

    @property
    def unchanged(self) -> dict[str, OptionValue]:
        """The point that leaves the network as it is."""
        return {name: values[0] for name, values in self.dimensions.items()}

    def text(self, point: Choices) -> str:
        """Return the passes of a point, as text."""
        instances = (one.at(point) for one in self.passes)
        return ",".join(str(instance) for instance in instances if instance is not None)

    def nearest(self, point: Choices) -> dict[str, OptionValue]:
        """Return the point of this space that is nearest to one of another space.

        Numbers become the nearest values; dimensions and texts that are not here leave the network
        as it is.
        """
        found = dict(self.unchanged)
        for name, values in self.dimensions.items():
            wanted = point.get(name)
            if wanted in values:
                found[name] = wanted
            elif isinstance(wanted, int | float):
                numbers = [value for value in values if isinstance(value, int | float)]
                found[name] = min(numbers, key=lambda value: abs(value - wanted))
        return found

    def neighbours(self, point: Choices) -> Iterator[dict[str, OptionValue]]:
        """Yield the points that differ by one step in one dimension."""
        for name, values in self.dimensions.items():
            place = values.index(point[name])
            for other in (place - 1, place + 1):
                if 0 <= other < len(values):
                    yield {**point, name: values[other]}

    def points(self) -> Iterator[dict[str, OptionValue]]:
        """Yield all points."""
        for values in itertools.product(*self.dimensions.values()):
            yield dict(zip(self.dimensions, values, strict=True))


def _restricted(
    name: str, values: tuple[OptionValue, ...], allowed: Sequence[OptionValue]
) -> tuple[OptionValue, ...]:
    for value in allowed:
        if value not in values:
            offered = ", ".join(map(str, values))
            raise HwoptError(f"{value} is no value of {name}: there are {offered}")
    return tuple(value for value in values if value in allowed or value == values[0])
