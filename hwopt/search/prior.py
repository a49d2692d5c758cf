"""What every choice of a space does by itself: to the latency, and to the loss before training."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hwopt.allocation.allocate import Width
from hwopt.errors import HwoptError
from hwopt.search.space import Space

if TYPE_CHECKING:
    from hwopt.graph import Graph
    from hwopt.passes.base import OptionValue

log = logging.getLogger(__name__)

#: No loss is told from a larger one: a network that is that bad by one choice is of no use.
_LARGEST_LOSS = 10.0
#: Networks whose latency is asked for at once: each time the unchanged one is measured beside them,
#: and all of them are in memory.
_TOGETHER = 8


class Prior(NamedTuple):
    """A space without the choices that passes refuse, and what is known of the others.

    Attributes:
        space: what is left.
        table: for every dimension its values in their order, as widths. ``channels`` counts down to
            1; ``latency`` is the share of the baseline's; ``importance`` is what the mean
            loss gains by the choice before any training, less than 0 where it is worse (our reading
            of a score at initialisation).
        refused: a sentence for every choice that a pass refuses.
    """

    space: Space
    table: dict[str, list[Width]]
    refused: list[str]


def prior(
    space: Space,
    apply: Callable[[str], Graph],
    shares: Callable[[Sequence[Graph]], list[float]],
    loss: Callable[[Graph], float],
) -> Prior:
    """Apply every choice of a space by itself.

    Args:
        space: of a network.
        apply: from the text of passes to the network after them.
        shares: latencies of networks as shares of the unchanged one's.
        loss: mean loss of a network on training samples.

    Raises:
        HwoptError: if passes refuse all choices.
    """
    graphs: dict[tuple[str, OptionValue], Graph] = {}
    refused = []
    for name, (_, *others) in space.dimensions.items():
        for value in others:
            try:
                graphs[name, value] = apply(space.text({**space.unchanged, name: value}))
            except HwoptError as error:
                refused.append(f"{name} = {value} is no choice: {error}")
    if not graphs:
        raise HwoptError(
            f"there is nothing to choose: all choices are refused by their passes: {refused[-1]}"
        )
    found = dict(zip(graphs, _in_parts(shares, list(graphs.values())), strict=True))
    unchanged = _bounded(loss(apply("")))
    dimensions: dict[str, tuple[OptionValue, ...]] = {}
    table: dict[str, list[Width]] = {}
    for name, (first, *others) in space.dimensions.items():
        possible = [value for value in others if (name, value) in graphs]
        if not possible:
            continue
        widths = [Width(len(possible) + 1, 1.0, 0.0)]
        for value in possible:
            share, gained = found[name, value], unchanged - _bounded(loss(graphs[name, value]))
            widths.append(Width(len(possible) + 1 - len(widths), share, gained))
            log.info("%s = %s: %.3f of the latency, loss %+.3f", name, value, share, -gained)
        dimensions[name], table[name] = (first, *possible), widths
    return Prior(Space(space.passes, dimensions), table, refused)


def _in_parts(
    shares: Callable[[Sequence[Graph]], list[float]], graphs: Sequence[Graph]
) -> list[float]:
    """Return the shares of many networks, asked for some at a time."""
    return [
        share
        for start in range(0, len(graphs), _TOGETHER)
        for share in shares(graphs[start : start + _TOGETHER])
    ]


def _bounded(loss: float) -> float:
    return min(loss, _LARGEST_LOSS) if math.isfinite(loss) else _LARGEST_LOSS
