"""The best choice of widths of all that were measured to be within a budget."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from hwopt.allocation.allocate import Allocation, Table, fastest

log = logging.getLogger(__name__)

#: Measured again after the budget of the prediction has been moved, at most so often.
_CORRECTIONS = 8
_TOLERANCE = 0.02
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Measured:
    """A choice and its latency, as a share of the dense network's."""

    allocation: Allocation
    share: float


def choose_within(
    share: float,
    table: Table,
    choose: Callable[[float], Allocation],
    measure: Callable[[Allocation], float],
    first: float | None = None,
) -> tuple[Measured | None, Measured]:
    """Measure choices until one is within the share and near to it.

    What groups save together is not quite what they save alone, so the budget of the prediction is
    moved until the measurement fits.

    Args:
        share: of the dense latency, to be reached.
        table: the widths, with their latencies as shares.
        choose: from a budget of the predicted latency to widths.
        measure: the latency of the network with these widths, as a share.
        first: the first budget; the share by default.

    Returns:
        The most important one of those within the share, or None; and the last one that was
        measured, which is the fastest if none is within.
    """
    low, high = fastest(table), 1.0
    aim = share - _TOLERANCE / 2
    # What is predicted of the fastest may be more than it takes.
    budget = max(first or share, low)
    best: Measured | None = None
    # The network as it is has its latency, whatever a second measurement says.
    dense = tuple(max(w.channels for w in widths) for widths in table.values())
    tried = {dense: 1.0}
    inside, outside = None, (1.0, 1.0)  # predicted and measured shares next to the budget
    while True:
        last = _measured(choose(budget), table, tried, measure)
        found = (last.allocation.predicted, last.share)
        if last.share <= share:
            low, inside = max(low, budget), found
            if best is None or last.allocation.importance > best.allocation.importance:
                best = last
        else:
            high, outside = min(high, found[0], budget), found
        if share - _TOLERANCE <= last.share <= share or high - low < _ROUNDING:
            break
        if len(tried) > _CORRECTIONS:
            break
        budget = _between(inside or (1.0, 1.0), outside if inside else found, aim)
        if not low < budget < high:
            budget = (low + high) / 2
    if best is None:
        last = _measured(choose(fastest(table)), table, tried, measure)
        best = last if last.share <= share else None
    return best, last


def _measured(
    allocation: Allocation,
    table: Table,
    tried: dict[tuple[int, ...], float],
    measure: Callable[[Allocation], float],
) -> Measured:
    """Measure a choice, if it is a new one."""
    widths = tuple(allocation.widths[name].channels for name in table)
    if widths not in tried:
        tried[widths] = measure(allocation)
        log.info("predicted %.3f, measured %.3f", allocation.predicted, tried[widths])
    return Measured(allocation, tried[widths])


def _between(first: tuple[float, float], second: tuple[float, float], aim: float) -> float:
    """Return what is to be predicted, on the line through two pairs of predicted and measured."""
    if first[1] == second[1]:
        return second[0]
    slope = (first[0] - second[0]) / (first[1] - second[1])
    return second[0] + (aim - second[1]) * slope
