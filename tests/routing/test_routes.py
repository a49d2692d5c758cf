import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwopt.errors import HwoptError
from hwopt.routing.routes import choose_point, route_points
from hwopt.tasks import Metric


def answers(seed, samples=60):
    """Return which answers are right, as 1 and 0, and scores."""
    random = np.random.default_rng(seed)
    small, large = ((random.random(samples) < share).astype(float) for share in (0.6, 0.9))
    # Rounded, so that some are equal.
    return small, large, np.round(random.normal(size=samples), 1)


@given(st.integers(0, 100))
def test_points_are_what_routing_gives(seed):
    small, large, score = answers(seed)
    points = route_points(small, large, score, (1.0, 11.0))
    assert (points[0].coverage, points[-1].coverage) == (0.0, 1.0)
    assert (points[0].quality, points[-1].quality) == (large.mean(), small.mean())
    for point in points:
        hard = score > point.threshold
        assert point.coverage == pytest.approx(1 - hard.mean())
        assert point.quality == pytest.approx(np.where(hard, large, small).mean())
        assert point.mean_ms == pytest.approx(1 + 10 * hard.mean())
    coverages = [point.coverage for point in points]
    assert coverages == sorted(coverages) and len(set(coverages)) == len(coverages)


def test_an_oracle_is_right_where_one_of_the_two_is():
    small, large, _ = answers(0)
    asks = large > small
    points = route_points(small, large, asks.astype(float))
    oracle = choose_point(points, coverage=1 - asks.mean())
    assert oracle.quality == pytest.approx(np.maximum(small, large).mean())
    assert oracle.coverage == pytest.approx(1 - asks.mean())


def test_random_routing_lies_on_the_chord():
    small, large, _ = answers(1, samples=20_000)
    score = np.random.default_rng(0).random(20_000)
    points = route_points(small, large, score)
    first, last = points[0].quality, points[-1].quality
    for point in points[::500]:
        chord = (1 - point.coverage) * first + point.coverage * last
        assert point.quality == pytest.approx(chord, abs=0.01)


@given(st.integers(0, 50), st.floats(0, 1))
def test_wishes(seed, wish):
    points = route_points(*answers(seed), (1.0, 11.0))
    chosen = choose_point(points, coverage=wish)
    assert chosen.coverage >= wish
    assert not any(wish <= point.coverage < chosen.coverage for point in points)
    fastest = choose_point(points, mean_ms=1 + 10 * wish)
    assert fastest.mean_ms <= 1 + 10 * wish
    fitting = [point.quality for point in points if point.mean_ms <= 1 + 10 * wish]
    assert fastest.quality == max(fitting)
    best = max(point.quality for point in points)
    accurate = choose_point(points, quality=best)
    assert accurate.mean_ms == min(point.mean_ms for point in points if point.quality == best)


def test_what_cannot_be_is_said_in_one_sentence():
    points = route_points(*answers(0))
    for wishes in ({}, {"coverage": 0.5, "quality": 0.5}):
        with pytest.raises(HwoptError, match="give one of coverage, quality, mean_ms"):
            choose_point(points, **wishes)
    with pytest.raises(HwoptError, match=r"no threshold gives quality=1\.5"):
        choose_point(points, quality=1.5)


def test_of_errors_the_less_the_better():
    error = Metric("error", higher_is_better=False, is_share=False)
    small, large, score = answers(0)
    points = route_points(1 - small, 1 - large, score, (1.0, 11.0))
    chosen = choose_point(points, mean_ms=6.0, metric=error)
    same = choose_point(route_points(small, large, score, (1.0, 11.0)), mean_ms=6.0)
    assert (chosen.threshold, chosen.quality) == (same.threshold, pytest.approx(1 - same.quality))
    assert choose_point(points, quality=0.3, metric=error).quality <= 0.3
    with pytest.raises(HwoptError, match=r"no threshold gives quality=-1 .* nearest is 0\."):
        choose_point(points, quality=-1, metric=error)
