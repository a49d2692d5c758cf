import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwopt.errors import HwoptError
from hwopt.routing.routes import choose_point, route_points


def answers(seed, samples=60, classes=3):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, samples)
    small, large = (
        random.normal(size=(samples, classes)) + strength * np.eye(classes)[labels]
        for strength in (1, 3)
    )
    # Rounded, so that some are equal.
    return small, large, np.round(random.normal(size=samples), 1), labels


@given(st.integers(0, 100))
def test_points_are_what_routing_gives(seed):
    small, large, score, labels = answers(seed)
    points = route_points(small, large, score, labels, (1.0, 11.0))
    assert (points[0].coverage, points[-1].coverage) == (0.0, 1.0)
    assert points[0].accuracy == (large.argmax(1) == labels).mean()
    assert points[-1].accuracy == (small.argmax(1) == labels).mean()
    for point in points:
        hard = score > point.threshold
        routed = np.where(hard[:, None], large, small).argmax(1)
        assert point.coverage == pytest.approx(1 - hard.mean())
        assert point.accuracy == pytest.approx((routed == labels).mean())
        assert point.mean_ms == pytest.approx(1 + 10 * hard.mean())
    coverages = [point.coverage for point in points]
    assert coverages == sorted(coverages) and len(set(coverages)) == len(coverages)


def test_an_oracle_is_right_where_one_of_the_two_is():
    small, large, _, labels = answers(0)
    asks = (small.argmax(1) != labels) & (large.argmax(1) == labels)
    points = route_points(small, large, asks.astype(float), labels)
    oracle = choose_point(points, coverage=1 - asks.mean())
    either = (small.argmax(1) == labels) | (large.argmax(1) == labels)
    assert oracle.accuracy == pytest.approx(either.mean())
    assert oracle.coverage == pytest.approx(1 - asks.mean())


def test_random_routing_lies_on_the_chord():
    small, large, _, labels = answers(1, samples=20_000)
    score = np.random.default_rng(0).random(20_000)
    points = route_points(small, large, score, labels)
    first, last = points[0].accuracy, points[-1].accuracy
    for point in points[::500]:
        chord = (1 - point.coverage) * first + point.coverage * last
        assert point.accuracy == pytest.approx(chord, abs=0.01)


@given(st.integers(0, 50), st.floats(0, 1))
def test_wishes(seed, wish):
    points = route_points(*answers(seed), (1.0, 11.0))
    chosen = choose_point(points, coverage=wish)
    assert chosen.coverage >= wish
    assert not any(wish <= point.coverage < chosen.coverage for point in points)
    fastest = choose_point(points, mean_ms=1 + 10 * wish)
    assert fastest.mean_ms <= 1 + 10 * wish
    fitting = [point.accuracy for point in points if point.mean_ms <= 1 + 10 * wish]
    assert fastest.accuracy == max(fitting)
    best = max(point.accuracy for point in points)
    accurate = choose_point(points, accuracy=best)
    assert accurate.mean_ms == min(point.mean_ms for point in points if point.accuracy == best)


def test_what_cannot_be_is_said_in_one_sentence():
    points = route_points(*answers(0))
    for wishes in ({}, {"coverage": 0.5, "accuracy": 0.5}):
        with pytest.raises(HwoptError, match="give one of coverage, accuracy, mean_ms"):
            choose_point(points, **wishes)
    with pytest.raises(HwoptError, match=r"no threshold gives accuracy=1\.5"):
        choose_point(points, accuracy=1.5)
