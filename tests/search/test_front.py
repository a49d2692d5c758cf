import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwopt.search.front import Point, front, hypervolume

CELLS = 8
#: Coordinates on a grid, so that areas can be counted.
points = st.dictionaries(
    st.integers(0, 20),
    st.builds(Point, *(st.integers(0, CELLS).map(lambda n: n / CELLS),) * 2),
    max_size=8,
)
WORST = Point(0.0, 1.0)


def beats(one, other):
    return one != other and one.accuracy >= other.accuracy and one.latency <= other.latency


@given(points)
def test_the_front_is_what_nothing_beats(found):
    best = front(found)
    for key in best:
        assert not any(beats(other, found[key]) for other in found.values())
    for key in found.keys() - set(best):
        assert any(beats(found[other], found[key]) or found[other] == found[key] for other in best)
    assert [found[key] for key in best] == sorted(found[key] for key in best)


@given(points)
def test_the_hypervolume_is_the_area_that_is_covered(found):
    covered = sum(
        any(p.accuracy >= (row + 1) / CELLS and p.latency <= column / CELLS for p in found.values())
        for row in range(CELLS)
        for column in range(CELLS)
    )
    assert hypervolume(found, WORST) == pytest.approx(covered / CELLS**2)
