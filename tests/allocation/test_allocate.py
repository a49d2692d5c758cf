from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwopt.allocation import Width, allocate, faster_widths
from hwopt.errors import HwoptError


def ladder(draw, count):
    """A group of widths; latency mostly falls with the width, but not always."""
    widths = [Width(8 * count, 1.0, 1.0)]
    importance = 1.0
    for n in range(count - 1, 0, -1):
        importance *= draw(st.floats(0.3, 1.0))
        widths.append(Width(8 * n, draw(st.floats(0.55, 1.1)), importance))
    return widths


@st.composite
def tables(draw):
    groups = draw(st.integers(1, 4))
    return {f"g{i}": ladder(draw, draw(st.integers(1, 4))) for i in range(groups)}


def predicted(widths):
    return math.prod(width.latency for width in widths)


@given(tables(), st.floats(0.1, 1.0))
def test_budgeted_is_the_best_of_all_choices(table, budget):
    choices = list(itertools.product(*(faster_widths(widths) for widths in table.values())))
    # The solver keeps a budget to within its tolerance.
    surely, perhaps = (
        [sum(w.importance for w in c) for c in choices if predicted(c) <= budget + slack]
        for slack in (-1e-5, 1e-5)
    )
    if not perhaps:
        with pytest.raises(HwoptError, match="cannot be reached"):
            allocate(table, budget)
    if not surely:
        return
    found = allocate(table, budget)
    assert max(surely) - 1e-6 <= found.importance <= max(perhaps) + 1e-6
    assert found.predicted <= budget + 1e-5
    for method in ("greedy", "uniform"):
        other = allocate(table, budget, method)
        assert other.predicted <= budget + 1e-5
        assert other.importance <= max(perhaps) + 1e-6
        assert other.widths.keys() == table.keys()


@given(tables())
def test_only_widths_that_are_faster_than_all_larger_ones_are_offered(table):
    for widths in table.values():
        offered = faster_widths(widths)
        for width in offered[1:]:
            larger = [other for other in widths if other.channels > width.channels]
            assert all(width.latency < other.latency for other in larger)


def test_with_all_the_budget_nothing_goes():
    table = {"a": [Width(8, 1.0, 1.0), Width(4, 0.5, 0.9)]}
    for method in ("budgeted", "greedy", "uniform"):
        assert allocate(table, 1.0, method).widths["a"].channels == 8


def test_uniform_keeps_the_same_share_of_all():
    steps = ((8, 1.0), (6, 0.9), (4, 0.8), (2, 0.6))
    table = {
        "a": [Width(n, latency, n / 8) for n, latency in steps],
        "b": [Width(2 * n, latency, n / 8) for n, latency in steps],
    }
    widths = allocate(table, 0.65, "uniform").widths
    assert (widths["a"].channels, widths["b"].channels) == (4, 8)


def test_bad_input():
    with pytest.raises(HwoptError, match="nothing to allocate"):
        allocate({}, 1.0)
    with pytest.raises(HwoptError, match="nothing to allocate"):
        allocate({"a": []}, 1.0)
