import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwopt.search.front import Point, front, hypervolume

CELLS = 8
#: Coordinates on a grid, so that areas can be counted.
coordinates = st.integers(0, CELLS).map(lambda n: n / CELLS)
point = st.builds(Point, coordinates, coordinates, st.just(()))
point_of_three = st.builds(Point, coordinates, coordinates, st.tuples(coordinates))
points = st.dictionaries(st.integers(0, 20), point, max_size=8)
points_of_three = st.dictionaries(st.integers(0, 20), point_of_three, max_size=8)
WORST = Point(0.0, 1.0)


def beats(one, other):
    others = zip(one.others, other.others, strict=True)
    return (
        one != other
        and one.gain >= other.gain
        and one.latency <= other.latency
        and all(mine <= theirs for mine, theirs in others)
    )


@given(points | points_of_three)
def test_the_front_is_what_nothing_beats(found):
    best = front(found)
    for key in best:
        assert not any(beats(other, found[key]) for other in found.values())
    for key in found.keys() - set(best):
        assert any(beats(found[other], found[key]) or found[other] == found[key] for other in best)
    assert [found[key].latency for key in best] == sorted(found[key].latency for key in best)


@given(points)
def test_the_hypervolume_is_the_area_that_is_covered(found):
    covered = sum(
        any(p.gain >= (row + 1) / CELLS and p.latency <= column / CELLS for p in found.values())
        for row in range(CELLS)
        for column in range(CELLS)
    )
    assert hypervolume(found, WORST) == pytest.approx(covered / CELLS**2)


@given(points_of_three)
def test_with_a_third_it_is_the_volume(found):
    flat = {key: Point(p.gain, p.latency) for key, p in found.items()}
    of_layers = [
        {key: flat[key] for key, p in found.items() if p.others[0] <= layer / CELLS}
        for layer in range(CELLS)
    ]
    expected = sum(hypervolume(layer, WORST) for layer in of_layers) / CELLS
    assert hypervolume(found, Point(0.0, 1.0, (1.0,))) == pytest.approx(expected)
