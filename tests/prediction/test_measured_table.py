"""The samplers on a table of measured points: the search of ``benchmarks.search_samplers``."""

from statistics import mean

import pytest

from benchmarks import search_samplers

SEEDS = 3


def reached(sampler, trials):
    """Return the mean share of the table's hypervolume after so many measured trials."""
    runs = [search_samplers.run(sampler, seed, trials)["shares"] for seed in range(SEEDS)]
    return mean(shares[-1] for shares in runs)


@pytest.mark.slow
def test_twenty_guided_trials_find_more_than_sixty_of_others():
    others = {name: reached(name, 60) for name in ("random", "tpe", "nsga2")}
    assert reached("guided", 20) >= max(others.values()), others
