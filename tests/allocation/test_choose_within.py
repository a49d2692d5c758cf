from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwopt.allocation import Width, allocate
from hwopt.allocation.choose_within import choose_within


def ladder(steps):
    """A group whose latency and importance fall with its width."""
    return {"a": [Width(n, n / steps, n / steps) for n in range(steps, 0, -1)]}


@pytest.mark.slow
@given(st.floats(0.0, 0.6), st.floats(0.05, 1.0), st.integers(2, 200))
def test_a_reachable_share_is_reached(fixed, part, steps):
    """A part of the time that does not depend on widths is what predictions do not know."""
    table = ladder(steps)
    lowest = fixed + (1 - fixed) / steps
    share = lowest + part * (1 - lowest)
    choose = functools.partial(allocate, table)
    measured = []

    def measure(allocation):
        measured.append(fixed + (1 - fixed) * allocation.predicted)
        return measured[-1]

    best, _ = choose_within(share, table, choose, measure)
    assert best is not None and best.share <= share
    assert len(measured) <= 10
    # Nothing that fits is a whole step wider, unless the tolerance lets it be.
    assert share - best.share <= 0.02 + (1 - fixed) / steps


def test_out_of_reach_the_fastest_is_measured():
    table = ladder(4)
    choose = functools.partial(allocate, table)
    best, last = choose_within(0.5, table, choose, lambda one: 0.6 + 0.4 * one.predicted)
    assert best is None
    assert last.allocation.widths["a"].channels == 1
    assert last.share == pytest.approx(0.7)
