"""Samplers of Optuna on our spaces."""

import optuna
import pytest

from hwopt.search.front import Point
from hwopt.search.guided import distributions
from hwopt.search.samplers import make_sampler
from hwopt.search.space import Space


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp", "random"])
def test_samplers_of_optuna_take_limits_and_suggest_all_of_a_point(sampler):
    space = Space((), {"a": (1.0, 0.5, 0.25), "b": (1.0, 0.5)})
    worst = Point(0.5, 1.0)
    found = optuna.create_study(directions=["maximize", "minimize"])
    for number in range(14):
        found.sampler = make_sampler(sampler, space, {}, worst, 2**32 + number)
        trial = found.ask(distributions(space))
        share = trial.params["a"] * trial.params["b"]
        trial.set_constraint("share", share / 0.6 - 1)
        found.tell(trial, [0.5 + share / 2, share])
    assert {tuple(t.params) for t in found.trials} == {("a", "b")}
