"""Who suggests the next candidate: ours, one of Optuna's, or one that another package offers."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hwopt import plugins
from hwopt.allocation.allocate import Width
from hwopt.search.front import Point
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
        name: of the entry points ``hwopt.samplers``; what it stands for is called with the rest.
        space: what is chosen from.
        table: what every choice does by itself; empty where the sampler needs none.
        worst: the corner of the hypervolume.
        seed: of this suggestion.

    What trials have as constraints of Optuna's is known to all of them.
    """
    made: BaseSampler = plugins.load(plugins.SAMPLERS, name)(space, table, worst, seed % 2**32)
    return made


def needs_table(name: str) -> bool:
    """Return whether a sampler wants to know what every choice does by itself."""
    return bool(getattr(plugins.load(plugins.SAMPLERS, name), "needs_table", False))


def tpe(space: Space, table: Any, worst: Point, seed: int) -> BaseSampler:
    """Return Optuna's tree-structured Parzen estimator."""
    from optuna.samplers import TPESampler

    with _experimental():
        return TPESampler(seed=seed)


def nsga2(space: Space, table: Any, worst: Point, seed: int) -> BaseSampler:
    """Return Optuna's genetic algorithm."""
    from optuna.samplers import NSGAIISampler

    with _experimental():
        return NSGAIISampler(population_size=_POPULATION, seed=seed)


def gp(space: Space, table: Any, worst: Point, seed: int) -> BaseSampler:
    """Return Optuna's Gaussian process."""
    from optuna.samplers import GPSampler

    with _experimental():
        return GPSampler(seed=seed)


def random(space: Space, table: Any, worst: Point, seed: int) -> BaseSampler:
    """Return Optuna's random choice."""
    from optuna.samplers import RandomSampler

    return RandomSampler(seed)


@contextlib.contextmanager
def _experimental() -> Iterator[None]:
    """Pass over the warning that something of Optuna's may change."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
