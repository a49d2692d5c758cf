"""The best choice of widths of all that were measured to be within a budget."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from hwopt.search.allocate import Allocation, Table, fastest

log = logging.getLogger("hwopt.search")

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
        The most important one of those within the share, if there is any, and the last one that was
        measured.
    """
    low, high = fastest(table), 1.0
    # What is predicted of the fastest may be more than it takes.
    budget = max(first or share, low)
    best: Measured | None = None
    # The network as it is has its latency, whatever a second measurement says.
    tried = {tuple(max(w.channels for w in widths) for widths in table.values()): 1.0}
    while True:
        allocation = choose(budget)
        widths = tuple(allocation.widths[name].channels for name in table)
        if widths not in tried:
            tried[widths] = measure(allocation)
            log.info("predicted %.3f, measured %.3f", allocation.predicted_ms, tried[widths])
        last = Measured(allocation, tried[widths])
        if last.share <= share:
            low = max(low, budget)
            if best is None or allocation.importance > best.allocation.importance:
                best = last
        else:
            high = min(high, allocation.predicted_ms, budget)
        near = share - _TOLERANCE <= last.share <= share
        if near or high - low < _ROUNDING or len(tried) > _CORRECTIONS:
            return best, last
        budget *= share / last.share
        if not low < budget < high:
            budget = (low + high) / 2
