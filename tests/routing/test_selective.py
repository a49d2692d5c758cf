import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwopt.errors import HwoptError
from hwopt.routing.selective import choose_threshold, select


def scores_and_labels(seed=0, samples=200, classes=4):
    """Softmax scores that are right more often where they are high."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, samples)
    logits = random.normal(size=(samples, classes)) + 2 * np.eye(classes)[labels]
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(1, keepdims=True), labels


def test_all_or_nothing_is_answered():
    scores, labels = scores_and_labels()
    everything = select(scores, labels, 0.0)
    assert everything.coverage == 1
    assert everything.error == (scores.argmax(1) != labels).mean()
    nothing = select(scores, labels, 1.01)
    assert (nothing.coverage, nothing.error) == (0, 0)


def test_above_a_half_the_sets_of_the_classes_are_disjoint():
    scores, labels = scores_and_labels()
    sets = scores >= 0.5000001
    assert sets.sum(1).max() == 1
    selection = select(scores, labels, 0.5000001)
    assert selection.coverage == pytest.approx(sets.mean(0).sum())
    one_sided = sum((sets[:, k] & (labels != k)).mean() for k in range(4))
    assert selection.error * selection.coverage == pytest.approx(one_sided)


@given(st.integers(0, 50), st.floats(0, 1), st.floats(0, 1))
def test_coverage_falls_with_the_threshold(seed, one, other):
    scores, labels = scores_and_labels(seed, samples=30)
    low, high = (select(scores, labels, t) for t in sorted((one, other)))
    assert low.coverage >= high.coverage
    accepted = scores.max(1) >= low.threshold
    right = (accepted & (scores.argmax(1) == labels)).mean()
    assert low.error * low.coverage == pytest.approx(low.coverage - right)


@given(st.integers(0, 50), st.floats(0, 0.5))
def test_no_threshold_does_better_than_the_chosen_one(seed, error):
    scores, labels = scores_and_labels(seed, samples=40)
    models = [scores, scores**2]
    tried = [select(model, labels, t) for model in models for t in np.unique(model.max(1))]
    allowed = [one.coverage for one in tried if one.error <= error]
    if not allowed:
        with pytest.raises(HwoptError, match="no threshold gives an error of"):
            choose_threshold(models, labels, error=error)
        return
    chosen = choose_threshold(models, labels, error=error)
    assert chosen.coverage == pytest.approx(max(allowed))
    again = select(models[chosen.model], labels, chosen.threshold, chosen.model)
    assert (again.coverage, again.error) == (chosen.coverage, pytest.approx(chosen.error))
    at_least = choose_threshold(models, labels, coverage=chosen.coverage)
    assert at_least.error <= chosen.error


def test_exactly_one_wish():
    scores, labels = scores_and_labels()
    for wishes in ({}, {"error": 0.1, "coverage": 0.5}):
        with pytest.raises(HwoptError, match="either an error or a coverage"):
            choose_threshold([scores], labels, **wishes)
