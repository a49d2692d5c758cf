"""Choose a width for every group of channels within a latency budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from hwopt.errors import HwoptError

_ROUNDING = 1e-12
#: Beyond it every group has its fastest width.
_HIGHEST_PRICE = 1e9

Method = Literal["budgeted", "greedy", "uniform"]


@dataclass(frozen=True)
class Width:
    """One possible width of a group of channels.

    Attributes:
        channels: how many are left of those that can be removed; coupled ones count once.
        latency: measured median of the whole network in which only this group has this width, in
            the unit of the budget, such as shares of the dense latency.
        importance: of the channels that are left, of any sign; the network's is the sum over its
            groups.
    """

    channels: int
    latency: float
    importance: float


Table = Mapping[str, Sequence[Width]]


@dataclass(frozen=True)
class Allocation:
    """A width for every group.

    Attributes:
        widths: by the group's name.
        predicted: the dense latency times the share that every group by itself leaves of it, in
            the unit of the table.
        importance: the sum over the groups.
    """

    widths: Mapping[str, Width]
    predicted: float
    importance: float


def allocate(table: Table, budget: float, method: Method = "budgeted") -> Allocation:
    """Choose the widths that keep most importance within a budget.

    The latency of a choice is predicted as that of the dense network times the shares that the
    groups leave of it by themselves: the work of a layer is the product of the widths that it reads
    and makes. It is a prediction, so measure what comes out. Only widths that are faster, as
    measured, than all larger ones are considered (``faster_widths``): the staircase is used as it
    is.

    Args:
        table: for every group its widths; the largest is the dense one.
        budget: the largest predicted latency.
        method: ``budgeted`` solves the choice as an integer programme, exactly; ``greedy`` takes
            the step that loses least importance for what it saves until the budget is reached;
            ``uniform`` keeps the same share of all groups, as near as widths allow.

    Raises:
        HwoptError: if the table is empty, or even the fastest widths are over the budget.

    >>> table = {
    ...     "a": [Width(8, 1.0, 8.0), Width(4, 0.7, 7.0)],
    ...     "b": [Width(8, 1.0, 8.0), Width(4, 0.6, 2.0)],
    ... }
    >>> {name: w.channels for name, w in allocate(table, budget=0.8).widths.items()}
    {'a': 4, 'b': 8}
    """
    if not table or not all(table.values()):
        raise HwoptError(
            "there is nothing to allocate: the table has no group, or one without widths"
        )
    dense = {name: max(widths, key=lambda w: w.channels) for name, widths in table.items()}
    offered = {name: faster_widths(widths) for name, widths in table.items()}
    if fastest(table) > budget + _ROUNDING:
        raise HwoptError(
            f"the budget of {budget:.4g} cannot be reached: with the fastest widths "
            f"{fastest(table):.4g} is predicted; offer smaller widths or allow more"
        )
    chosen = {"budgeted": _budgeted, "greedy": _greedy, "uniform": _uniform}[method](
        dense, offered, budget
    )
    importance = sum(width.importance for width in chosen.values())
    return Allocation(chosen, _predicted(dense, chosen), importance)


def priced(table: Table, multiplier: float) -> Allocation:
    """Choose what is best if latency has a price.

    Every group takes the width with the largest importance - multiplier x log(latency): the
    best of the Lagrangian of ``allocate``'s problem, which is one choice a group.

    >>> table = {"a": [Width(8, 1.0, 0.0), Width(4, 0.7, -0.5), Width(2, 0.6, -2.0)]}
    >>> [priced(table, price).widths["a"].channels for price in (1.0, 2.0, 10.0)]
    [8, 4, 2]
    """
    price = min(multiplier, _HIGHEST_PRICE)
    dense = {name: max(widths, key=lambda w: w.channels) for name, widths in table.items()}
    chosen = {
        name: max(
            faster_widths(widths),
            key=lambda w: (w.importance - price * math.log(w.latency), -w.latency),
        )
        for name, widths in table.items()
    }
    importance = sum(width.importance for width in chosen.values())
    return Allocation(chosen, _predicted(dense, chosen), importance)


def lowest_price(table: Table, budget: float) -> float:
    """Return the lowest multiplier at which what is ``priced`` is within the budget.

    Infinity if not even the fastest widths are.

    >>> table = {"a": [Width(8, 1.0, 0.0), Width(4, 0.5, -math.log(2))]}
    >>> round(lowest_price(table, 0.6), 4), lowest_price(table, 0.4)
    (1.0, inf)
    """
    low, high = 0.0, 1.0
    if priced(table, low).predicted <= budget:
        return low
    if priced(table, math.inf).predicted > budget:
        return math.inf
    while priced(table, high).predicted > budget:
        low, high = high, 4 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        if priced(table, middle).predicted > budget:
            low = middle
        else:
            high = middle
    return high


def fastest(table: Table) -> float:
    """Return the latency that is predicted with the fastest width of every group."""
    dense = {name: max(widths, key=lambda w: w.channels) for name, widths in table.items()}
    return _predicted(dense, {name: faster_widths(widths)[-1] for name, widths in table.items()})


def faster_widths(widths: Sequence[Width]) -> list[Width]:
    """Return the widths that are faster, as measured, than all larger ones, the largest first.

    >>> steps = [Width(16, 1.0, 4), Width(12, 1.01, 3), Width(8, 0.8, 2), Width(7, 0.8, 1)]
    >>> [width.channels for width in faster_widths(steps)]
    [16, 8]
    """
    offered: list[Width] = []
    for width in sorted(widths, key=lambda w: -w.channels):
        if not offered or width.latency < offered[-1].latency:
            offered.append(width)
    return offered


Chosen = dict[str, Width]


def _predicted(dense: Mapping[str, Width], chosen: Mapping[str, Width]) -> float:
    start = float(np.median([width.latency for width in dense.values()]))
    return start * math.prod(w.latency / dense[name].latency for name, w in chosen.items())


def _budgeted(dense: Chosen, offered: dict[str, list[Width]], budget: float) -> Chosen:
    """Maximise the importance with one binary variable for every width of every group."""
    choices = [(name, width) for name, widths in offered.items() for width in widths]
    # Shares multiply, so their logarithms add up.
    saved = np.log([dense[name].latency / width.latency for name, width in choices])
    one_each = np.array([[float(name == group) for name, _ in choices] for group in offered])
    start = _predicted(dense, dense)
    result = milp(
        -np.array([width.importance for _, width in choices]),
        integrality=np.ones(len(choices)),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(saved[None], math.log(start / budget) - _ROUNDING, math.inf),
        ],
    )
    if result.x is None:
        raise HwoptError(f"the allocation could not be solved: {result.message}")
    return {name: width for (name, width), x in zip(choices, result.x, strict=True) if x > 0.5}


def _greedy(dense: Chosen, offered: dict[str, list[Width]], budget: float) -> Chosen:
    chosen = dict(dense)
    while _predicted(dense, chosen) > budget + _ROUNDING:
        steps = []
        for name, widths in offered.items():
            smaller = [w for w in widths if w.channels < chosen[name].channels]
            if smaller:
                lost = chosen[name].importance - smaller[0].importance
                saved = math.log(chosen[name].latency / smaller[0].latency)
                steps.append((lost / saved, name, smaller[0]))
        _, name, width = min(steps, key=lambda step: step[:2])
        chosen[name] = width
    return chosen


def _uniform(dense: Chosen, offered: dict[str, list[Width]], budget: float) -> Chosen:
    shares = sorted(
        {w.channels / dense[name].channels for name, widths in offered.items() for w in widths}
    )
    chosen = {name: widths[-1] for name, widths in offered.items()}
    for share in reversed(shares):
        chosen = {
            name: next(
                (w for w in widths if w.channels <= share * dense[name].channels), widths[-1]
            )
            for name, widths in offered.items()
        }
        if _predicted(dense, chosen) <= budget + _ROUNDING:
            break
    return chosen
