"""The samplers on a table of measured points: the search of ``benchmarks.search_samplers``."""

from statistics import mean

import pytest

from benchmarks import search_samplers


def reached(sampler, trials, seeds):
    """Return the mean share of the hypervolume after so many measured trials."""
    runs = [search_samplers.run(sampler, seed, trials)["shares"] for seed in range(seeds)]
    return mean(shares[-1] for shares in runs)


@pytest.mark.slow
def test_twenty_guided_trials_are_worth_sixty_at_random():
    assert reached("guided", 20, seeds=2) >= reached("random", 60, seeds=5)
