"""Who suggests the next candidate: ours, or one of Optuna's."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hwopt.allocation.allocate import Width
from hwopt.search.front import Point
from hwopt.search.guided import GuidedSampler
from hwopt.search.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

#: Children of a front of a few dozen trials; Optuna's 50 would be random for as long.
_POPULATION = 10


def make_sampler(
    name: str,
    space: Space,
    table: Mapping[str, Sequence[Width]],
    worst: Point,
    seed: int,
) -> BaseSampler:
    """Return a sampler for one suggestion: what it suggests depends on the trials and the seed.

    Args:
        name: ``guided``, ``tpe``, ``nsga2``, ``gp`` or ``random``.
        space: what is chosen from.
        table: what every choice does by itself, for ``guided``.
        worst: the corner of the hypervolume.
        seed: of this suggestion.

    What trials have as constraints of Optuna's is known to all of them.
    """
    seed %= 2**32
    from optuna import samplers
    from optuna.exceptions import ExperimentalWarning

    if name == "guided":
        return GuidedSampler(space, table, worst, seed)
    if name == "random":
        return samplers.RandomSampler(seed)
    with warnings.catch_warnings():
        # It is there, and may change.
        warnings.simplefilter("ignore", ExperimentalWarning)
        if name == "tpe":
            return samplers.TPESampler(seed=seed)
        if name == "gp":
            return samplers.GPSampler(seed=seed)
        return samplers.NSGAIISampler(population_size=_POPULATION, seed=seed)
