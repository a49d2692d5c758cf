"""The sampler on a made-up trade-off, of which every point is known."""

import math

import optuna
import pytest

from hwopt.allocation.allocate import Width
from hwopt.search.front import Point, hypervolume
from hwopt.search.guided import GuidedSampler, distributions
from hwopt.search.space import Space

VALUES = (1.0, 0.75, 0.5, 0.25)
NAMES = ("a", "b", "c", "d", "e")
#: What a group costs and is worth; they have no order in common.
COST = dict(zip(NAMES, (0.35, 0.1, 0.25, 0.2, 0.1), strict=True))
WORTH = dict(zip(NAMES, (0.02, 0.05, 0.01, 0.03, 0.08), strict=True))
WORST = Point(0.8, 1.0)
SPACE = Space((), dict.fromkeys(NAMES, VALUES))


def truth(point):
    """Accuracy and latency; groups act together, which the prior does not know."""
    share = sum(COST[name] * point[name] for name in NAMES)
    loss = sum(WORTH[name] * (1 - point[name]) ** 2 for name in NAMES)
    loss += 0.05 * (1 - point["a"]) * (1 - point["d"])
    return Point(0.93 - loss, 0.05 + 0.95 * share)


@pytest.fixture(scope="module")
def table():
    """The prior: right in latency alone, roughly right in importance."""
    return {
        name: [
            Width(len(VALUES) - place, 1 - COST[name] * (1 - value), -WORTH[name] * (1 - value) * 9)
            for place, value in enumerate(VALUES)
        ]
        for name in NAMES
    }


def searched(sampler, trials):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["maximize", "minimize"])
    for number in range(trials):
        study.sampler = sampler(number)
        trial = study.ask(distributions(SPACE))
        study.tell(trial, truth(trial.params).objectives)
    return study


def reached(study):
    return hypervolume({t.number: Point.of(t.values) for t in study.trials}, WORST)


@pytest.fixture(scope="module")
def best():
    return hypervolume({n: truth(p) for n, p in enumerate(SPACE.points())}, WORST)


@pytest.fixture(scope="module")
def guided(table):
    return searched(lambda n: GuidedSampler(SPACE, table, WORST, seed=0), 20)


@pytest.mark.slow
def test_twenty_trials_find_nearly_all_and_more_than_sixty_at_random(guided, best):
    others = [
        reached(searched(lambda n, seed=seed: optuna.samplers.RandomSampler(100 * seed + n), 60))
        for seed in range(3)
    ]
    assert reached(guided) >= 0.97 * best
    assert reached(guided) >= max(others)


@pytest.mark.slow
def test_a_third_objective_is_traded_too(table):
    """Size goes another way than latency."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    worst = Point(*WORST[:2], (1.0,))

    def of_three(point):
        return truth(point)._replace(others=(0.1 + 0.9 * point["e"] * point["b"],))

    for _ in range(24):
        study.sampler = GuidedSampler(SPACE, table, worst, seed=0)
        trial = study.ask(distributions(SPACE))
        study.tell(trial, of_three(trial.params).objectives)
    best = hypervolume({n: of_three(p) for n, p in enumerate(SPACE.points())}, worst)
    found = hypervolume({t.number: Point.of(t.values) for t in study.trials}, worst)
    assert found >= 0.9 * best


def test_the_ladder_goes_from_the_middle_to_both_ends(guided):
    shares = [trial.values[1] for trial in guided.trials[:3]]
    assert shares[2] < shares[0] < shares[1] or shares[1] < shares[0] < shares[2]


@pytest.mark.parametrize("ladder", [3, 8])
def test_no_point_is_suggested_twice_until_all_were(table, ladder):
    small = Space((), dict.fromkeys(NAMES[:3], VALUES[:2]))
    part = {name: table[name][:2] for name in NAMES[:3]}
    study = optuna.create_study(directions=["maximize", "minimize"])
    for _ in range(small.size):
        study.sampler = GuidedSampler(small, part, WORST, ladder=ladder)
        trial = study.ask(distributions(small))
        study.tell(trial, [0.9 - 0.1 * sum(trial.params.values()), sum(trial.params.values()) / 3])
    assert len({tuple(trial.params.values()) for trial in study.trials}) == small.size


@pytest.mark.slow
def test_the_same_seed_suggests_the_same(guided, table):
    again = searched(lambda n: GuidedSampler(SPACE, table, WORST, seed=0), 20)
    assert [t.params for t in again.trials] == [t.params for t in guided.trials]


def test_failed_trials_are_not_suggested_again(table):
    study = optuna.create_study(directions=["maximize", "minimize"])
    for number in range(14):
        study.sampler = GuidedSampler(SPACE, table, WORST)
        trial = study.ask(distributions(SPACE))
        if number % 3 == 1:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, truth(trial.params).objectives)
    points = [tuple(trial.params.values()) for trial in study.trials]
    assert len(set(points)) == len(points)
    assert math.isfinite(reached_of(study))


def reached_of(study):
    told = [t for t in study.trials if t.values]
    return hypervolume({t.number: Point.of(t.values) for t in told}, WORST)
